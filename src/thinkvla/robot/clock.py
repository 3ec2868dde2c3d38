"""The clock the control loop lives by; tests give it one of their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow."""

    def now(self) -> float:
        """Seconds since some fixed moment."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class WallClock:
    """The machine's monotonic clock, which its processes share."""

    def now(self) -> float:
        """Seconds on ``time.monotonic``'s clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)
