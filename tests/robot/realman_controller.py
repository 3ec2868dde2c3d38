"""A controller of a RealMan arm that is none: it speaks the documented JSON protocol over a socket.

One JSON object a line. Poses are [x, y, z, rx, ry, rz] in 0.001 mm and 0.001 rad, or with a quaternion w x y z in
millionths. What the SDK asks when it connects is answered for a six-joint RM65.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

_FIXED: dict[str, dict[str, Any]] = {
    "get_arm_software_info": {
        "Product_version": "RM65-BI",
        "algorithm_info": {"version": "1.4.4"},
        "command": "arm_software_info",
        "ctrl_info": {"build_time": "2024/08/28 18:36:18", "version": "V1.6.1"},
        "dynamic_info": {"model_version": "2"},
        "plan_info": {"build_time": "2024/08/28 18:36:33", "version": "V1.6.1"},
    },
    "get_arm_current_trajectory": {"state": "arm_current_trajectory", "type": "none", "data": [0] * 6},
    "get_realtime_push": {
        "command": "get_realtime_push",
        "custom": dict.fromkeys(("expand_state", "joint_acc", "joint_speed", "lift_state", "tail_end"), False),
        "cycle": 5,
        "enable": False,
        "ip": "127.0.0.1",
        "port": 8089,
    },
    "get_current_work_frame": {"state": "current_work_frame", "frame_name": "World", "pose": [0] * 6},
    "get_current_tool_frame": {
        "state": "current_tool_frame",
        "tool_name": "Arm_Tip",
        "pose": [0] * 6,
        "payload": 0,
        "position": [0, 0, 0],
    },
    "get_install_pose": {"state": "install_pose", "pose": [0, 0, 0]},
    "get_joint_min_pos": {"state": "joint_min_pos", "min_pos": [-178000] * 6},
    "get_joint_max_pos": {"state": "joint_max_pos", "max_pos": [178000] * 6},
    "get_joint_max_acc": {"state": "joint_max_acc", "joint_acc": [100000] * 6},
    "get_joint_max_speed": {"state": "joint_max_speed", "joint_speed": [30000] * 6},
    "get_DH_data": {"command": "get_DH_data", **{f"joint_{n}": [0, 0, 240500, 0] for n in range(1, 7)}},
    "set_gripper_position": {"command": "set_gripper", "state": True},
}


class Controller:
    """Listens on a free port of this machine.

    Attributes:
        port: the port.
        messages: everything received.
        pose: where the hand is, [x, y, z, rx, ry, rz], 0.001 mm and 0.001 rad; a pose passed through moves only the
            position there, at once.
        error: the system error it reports.
        deaf: commands that get no answer.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.pose = [400000, 0, 200000, 3142, 0, 0]
        self.error = 0
        self.deaf: set[str] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def received(self, command: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["command"] == command]

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                self.messages.append(message)
                answer = self._answer(message)
                if answer is not None and message["command"] not in self.deaf:
                    connection.sendall(json.dumps(answer).encode() + b"\r\n")

    def _answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        command = message["command"]
        if command == "get_current_arm_state":
            state = {"joint": [0] * 6, "pose": self.pose, "err": [self.error]}
            return {"state": "current_arm_state", "arm_state": state}
        if command == "movep_canfd":  # of the third generation: no answer
            self.pose = [*message["pose_quat"][:3], *self.pose[3:]]
            return None
        if command == "set_arm_stop":
            return {"command": "set_arm_stop", "arm_stop": True}
        return _FIXED.get(command)
