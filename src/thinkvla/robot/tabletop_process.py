"""The tabletop world in real time, in a process of its own: a stand-in for an arm that does not wait for anybody.

Started by :class:`thinkvla.robot.tabletop.TabletopRobot`: ``python -m thinkvla.robot.tabletop_process FD SUITE TASK
SEED``, with one end of a socket pair. Physics follow the wall clock. A message is a line of JSON; the answer to
``observe`` is a line of JSON and the bytes of the images, in the order of the cameras. When the other end is closed the
arm halts and the process ends.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Any

import numpy as np

from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.suites import choose_tasks
from thinkvla.tabletop.world import World

_SLICE_S = 0.02
_BEHIND_S = 0.2
"""Physics that cannot keep up skip time beyond this, rather than lag ever more."""


class RealTime:
    """A world whose time is the wall clock's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._begun = time.monotonic() - world.time

    def catch_up(self) -> None:
        """Let the world's time pass up to now."""
        behind = time.monotonic() - self._begun - self.world.time
        if behind > _BEHIND_S:
            self._begun += behind - _BEHIND_S
            behind = _BEHIND_S
        if behind >= _SLICE_S:
            self.world.advance(behind)

    def handle(self, message: dict[str, Any]) -> bytes:
        """The answer to one message; empty for those that want none.

        Raises:
            ValueError: a message that is none of ours.
        """
        kind = message.get("do")
        if kind == "observe":
            taken_at = time.monotonic()
            seen = self.world.observe()
            images = [np.ascontiguousarray(seen.images[camera]) for camera in TABLETOP.cameras]
            head = {"taken_at": taken_at, "done": self.world.succeeded(), "bytes": [image.nbytes for image in images]}
            return json.dumps(head).encode() + b"\n" + b"".join(image.tobytes() for image in images)
        if kind == "act":
            self.world.begin(message["action"])
            return b""
        if kind == "stop":
            self.world.halt()
            return b""
        if kind == "instruction":
            return json.dumps({"instruction": self.world.scene.instruction}).encode() + b"\n"
        raise ValueError(f"message {message!r}: 'do' is none of observe, act, stop, instruction")


def main(descriptor: int, suite: str, task_name: str, seed: int) -> None:
    """Serve one connection until it is closed."""
    (task,) = choose_tasks(suite, [task_name])
    with World(task) as world, socket.socket(fileno=descriptor) as connection:
        world.reset(seed)
        world.observe()  # the first image takes far longer than those after it
        real_time, received = RealTime(world), b""
        while True:
            real_time.catch_up()
            if not select.select([connection], [], [], _SLICE_S / 2)[0]:
                continue
            part = connection.recv(65536)
            if not part:
                return
            *lines, received = (received + part).split(b"\n")
            for line in lines:
                if answer := real_time.handle(json.loads(line)):
                    connection.sendall(answer)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
