"""What a robot must do for ``thinkvla run``: a handful of calls, and what they promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from thinkvla.contract import Actions, Embodiment, Image

Command = dict[str, Any]
"""What is sent to the machine for one control step, in its own words and units; JSON-ready, so that it can be shown."""


@dataclass(frozen=True)
class Sight:
    """What the robot saw.

    Attributes:
        images: camera → uint8 (H, W, 3) RGB, as the embodiment says.
        taken_at: when the oldest of them was taken, seconds on ``time.monotonic``'s clock.
        done: the robot knows the task to be done; only a simulator does.
    """

    images: Mapping[str, Image]
    taken_at: float
    done: bool = False


class Robot(Protocol):
    """A robot as the control loop sees it. Any call may raise; the loop then stops the robot."""

    @property
    def embodiment(self) -> Embodiment:
        """What it shows and accepts."""

    def observe(self) -> Sight:
        """The latest images."""

    def command(self, action: Actions) -> Command:
        """What :meth:`act` must be given for an action (A,) of the contract at this moment; moves nothing."""

    def act(self, command: Command) -> None:
        """Begin to move as commanded, and return at once. Without a further command the robot comes to rest."""

    def stop(self) -> None:
        """Stop moving now and stay. Comes from any thread, at any time, also twice."""

    def close(self) -> None:
        """Let go of the connection."""
