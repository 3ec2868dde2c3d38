"""The tabletop world as a robot: another process steps its physics in real time, whether we act or not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from typing import Any

import numpy as np

from thinkvla.contract import Actions
from thinkvla.robot.protocol import Command, Sight
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.suites import choose_tasks

_ANSWER_S = 5.0


class TabletopRobot:
    """Starts the process and speaks with it.

    Args:
        suite: name of a suite.
        task: name of one of its tasks.
        seed: of the episode.

    Attributes:
        instruction: what the scene's task is, in words.

    Raises:
        ValueError: there is no such suite or task.
        RuntimeError: the process does not come up.
    """

    embodiment = TABLETOP

    def __init__(self, suite: str, task: str, seed: int) -> None:
        choose_tasks(suite, [task])
        ours, theirs = socket.socketpair()
        command = [
            sys.executable,
            "-m",
            "thinkvla.robot.tabletop_process",
            str(theirs.fileno()),
            suite,
            task,
            str(seed),
        ]
        environment = {
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        self._connection, self._answers = ours, ours.makefile("rb")
        self._sending = threading.Lock()
        ours.settimeout(60.0)  # until the world is built
        try:
            self.instruction: str = self._ask("instruction")["instruction"]
        except (OSError, ValueError) as error:
            self.close()
            raise RuntimeError(f"the tabletop process did not come up ({error}); its messages are above") from error
        ours.settimeout(_ANSWER_S)

    def observe(self) -> Sight:
        """Both images of this moment."""
        head = self._ask("observe")
        shape = (*TABLETOP.image_size, 3)
        images = {
            camera: np.frombuffer(self._answers.read(size), np.uint8).reshape(shape)
            for camera, size in zip(TABLETOP.cameras, head["bytes"], strict=True)
        }
        return Sight(images, head["taken_at"], head["done"])

    def command(self, action: Actions) -> Command:
        """The action as it is: the world knows its workspace itself."""
        return {"do": "act", "action": [round(float(value), 6) for value in action]}

    def act(self, command: Command) -> None:
        """Begin the action."""
        self._send(command)

    def stop(self) -> None:
        """Give up the action under way."""
        self._send({"do": "stop"})

    def close(self) -> None:
        """End the process."""
        self._answers.close()
        self._connection.close()
        try:
            self._process.wait(30.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Command) -> None:
        with self._sending:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def _ask(self, what: str) -> dict[str, Any]:
        self._send({"do": what})
        line = self._answers.readline()
        if not line:
            raise ConnectionError("the tabletop process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
