"""RealMan arms, by the vendor's SDK (PyPI: ``Robotic_Arm``, the extra ``realman``), with cameras of their own.

The arm is led by pose pass-through (``movep_canfd``): the controller turns each pose into joint angles and goes there
without planning, so poses must come often and close together. Each control step's target is therefore approached in
equal parts, ``stream_hz`` times a second.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkvla.contract import Actions, Embodiment
from thinkvla.robot.camera import VideoCamera
from thinkvla.robot.protocol import Command, Sight
from thinkvla.robot.rotations import from_euler, from_vector, to_quaternion, to_vector
from thinkvla.robot.targets import Pose, PoseTargets, Workspace


@dataclass(frozen=True)
class RealManSpec:
    """How to reach an arm.

    Attributes:
        host: its address.
        workspace: where its hand may be.
        cameras: camera of the embodiment → device or address.
        port: of its controller.
        stream_hz: poses sent per second; a multiple of the control rate.
        gripper_open: value of the action's last dimension that opens the gripper.
        gripper_closed: value that closes it. The middle between both tells them apart.
        open_position: of the gripper, 1 to 1000.
        closed_position: of the gripper, 1 to 1000.
    """

    host: str
    workspace: Workspace
    cameras: Mapping[str, str]
    port: int = 8080
    stream_hz: float = 50.0
    gripper_open: float = -1.0
    gripper_closed: float = 1.0
    open_position: int = 1000
    closed_position: int = 1


def waypoints(begin: Pose, end: Pose, count: int) -> list[Pose]:
    """``count`` poses from ``begin`` (left out) to ``end``, in equal parts."""
    turn = to_vector(end.rotation @ begin.rotation.T)
    parts = [part / count for part in range(1, count + 1)]
    return [
        Pose(begin.position + (end.position - begin.position) * part, from_vector(turn * part) @ begin.rotation)
        for part in parts
    ]


class RealManRobot:
    """An arm and its cameras.

    Args:
        arm: a connected ``RoboticArm`` of the SDK.
        cameras: camera → what gives its pictures.
        spec: how it is used.
        embodiment: the policy's; its actions are Δxyz, Δ axis-angle and the gripper.

    Raises:
        ValueError: embodiment and specification do not fit.
    """

    def __init__(self, arm: Any, cameras: Mapping[str, VideoCamera], spec: RealManSpec, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self._arm, self._cameras, self._spec = arm, cameras, spec
        self._targets = PoseTargets(embodiment, spec.workspace)
        self._parts = round(spec.stream_hz / embodiment.control_hz)
        if self._parts < 1 or embodiment.action_dim != 7:
            raise ValueError(
                f"stream_hz is {spec.stream_hz} at {embodiment.control_hz} control steps a second, with "
                f"{embodiment.action_dim} action dimensions; expected at least one pose a step, and 7 dimensions"
            )
        self._planned: tuple[Command, Pose, Pose] | None = None
        self._gripper: int | None = None
        self._line = threading.Lock()  # the SDK takes one call at a time
        self._path: deque[Pose] = deque()
        self._sent: Pose | None = None
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._stream = threading.Thread(target=self._send_path, name="realman", daemon=True)
        self._stream.start()

    @classmethod
    def connect(cls, spec: RealManSpec, embodiment: Embodiment) -> RealManRobot:
        """Connect to the arm and open the cameras.

        Raises:
            ValueError: a camera is missing or cannot be opened.
            RuntimeError: the arm does not answer.
        """
        from Robotic_Arm.rm_robot_interface import RoboticArm, rm_thread_mode_e

        missing = set(embodiment.cameras) ^ set(spec.cameras)
        if missing:
            raise ValueError(f"cameras {sorted(missing)} differ; the policy has {list(embodiment.cameras)}")
        arm = RoboticArm(rm_thread_mode_e.RM_SINGLE_MODE_E)
        if arm.rm_create_robot_arm(spec.host, spec.port).id == -1:
            raise RuntimeError(
                f"no RealMan controller answers at {spec.host}:{spec.port}; is the arm on, and reachable?"
            )
        cameras: dict[str, VideoCamera] = {}
        try:
            for name, source in spec.cameras.items():
                cameras[name] = VideoCamera(source, embodiment.image_size)
            return cls(arm, cameras, spec, embodiment)
        except ValueError:
            for camera in cameras.values():
                camera.close()
            arm.rm_delete_robot_arm()
            raise

    def observe(self) -> Sight:
        """The cameras' latest pictures; raises what went wrong in the stream of poses."""
        if self._error is not None:
            raise self._error
        latest = {name: camera.latest() for name, camera in self._cameras.items()}
        return Sight({name: picture for name, (picture, _) in latest.items()}, min(at for _, at in latest.values()))

    def command(self, action: Actions) -> Command:
        """The pose to go to (metres, quaternion w x y z) and the gripper's position, None where it stays."""
        measured = self._measured()
        target = self._targets.next(measured, action)
        middle = (self._spec.gripper_open + self._spec.gripper_closed) / 2
        opens = (float(action[6]) > middle) == (self._spec.gripper_open > middle)
        gripper = self._spec.open_position if opens else self._spec.closed_position
        pose = [round(float(v), 6) for v in (*target.position, *to_quaternion(target.rotation))]
        command = {"pose": pose, "gripper": None if gripper == self._gripper else gripper}
        self._planned = command, measured, target
        return command

    def act(self, command: Command) -> None:
        """Set out for the pose of the last :meth:`command`; raises RuntimeError if the arm refuses."""
        if self._planned is None or self._planned[0] is not command:
            raise RuntimeError("act() takes what command() returned last")
        _, measured, target = self._planned
        self._targets.commit(measured, target)
        with self._line:
            begin = measured if self._sent is None else self._sent
            self._path = deque(waypoints(begin, target, self._parts))
            if command["gripper"] is not None:
                _check("set_gripper_position", self._arm.rm_set_gripper_position(command["gripper"], False, 0))
                self._gripper = command["gripper"]

    def stop(self) -> None:
        """No further pose, and the controller's own stop; raises RuntimeError if it does not confirm."""
        self._stopped.set()
        taken = self._line.acquire(timeout=0.6)  # a call under way ends within the SDK's half second; then stop anyway
        try:
            self._path.clear()
            _check("set_arm_stop", self._arm.rm_set_arm_stop())
        finally:
            if taken:
                self._line.release()

    def close(self) -> None:
        """Let go of arm and cameras."""
        self._stopped.set()
        self._stream.join(2.0)
        for camera in self._cameras.values():
            camera.close()
        self._arm.rm_delete_robot_arm()

    def _measured(self) -> Pose:
        with self._line:
            code, state = self._arm.rm_get_current_arm_state()
        _check("get_current_arm_state", code)
        errors = [error for error in state["err"]["err"] if error != "0"]
        if errors:
            raise RuntimeError(f"the arm reports system errors {errors}; see the controller's error list")
        position, angles = np.split(np.asarray(state["pose"], np.float64), 2)
        return Pose(position, from_euler(angles))

    def _send_path(self) -> None:
        """Send the next pose of the path, again and again."""
        period = 1 / self._spec.stream_hz
        due = time.monotonic()
        while not self._stopped.is_set():
            with self._line:
                if self._path and not self._stopped.is_set():
                    pose = self._path.popleft()
                    code = self._arm.rm_movep_canfd(_values(pose), False)
                    self._sent = pose
                    if code != 0:
                        self._error = RuntimeError(f"movep_canfd failed with code {code}; the pose may be out of reach")
                        return
            due = max(due + period, time.monotonic())
            self._stopped.wait(due - time.monotonic())


def _values(pose: Pose) -> Sequence[float]:
    return [float(v) for v in (*pose.position, *to_quaternion(pose.rotation))]


def _check(call: str, code: int) -> None:
    if code != 0:
        raise RuntimeError(f"{call} failed with the SDK's code {code}; is the arm still connected?")
