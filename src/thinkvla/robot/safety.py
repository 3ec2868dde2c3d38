"""What stops a robot: one brake, and three who may pull it: the loop, the watchdog, and a person.

This is no substitute for the emergency button of the arm, which cuts its power whatever a program does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from thinkvla.robot.clock import Clock
from thinkvla.robot.protocol import Command, Robot

_KEYS = " q\x1b"


class Fault(Exception):
    """Why the robot was stopped.

    Attributes:
        code: one word, e.g. ``stale_observation``; docs/robots.md lists them.
        reason: what was wrong, and what to look at.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


class Brake:
    """The only way to move the robot, and to stop it: once stopped, nothing is sent any more.

    Args:
        robot: to be stopped.

    Attributes:
        fault: why it was stopped; None while it may move.
    """

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self.fault: Fault | None = None

    def act(self, command: Command) -> None:
        """Send a command; raises the fault if the robot was stopped, or is stopped meanwhile."""
        if self.fault is None:
            self._robot.act(command)
        if self.fault is not None:
            self._robot.stop()  # it may have been stopped just before our command arrived
            raise self.fault

    def stop(self, fault: Fault) -> None:
        """Stop the robot; the first fault is kept. Raises whatever ``robot.stop`` does."""
        if self.fault is None:
            self.fault = fault
        self._robot.stop()


class EmergencyStop:
    """A person's wish to stop: a signal (SIGINT, SIGTERM), a key, or a file.

    Args:
        file: the robot stops as soon as it exists.

    Raises:
        ValueError: the file exists already.
    """

    def __init__(self, file: Path) -> None:
        if file.exists():
            raise ValueError(f"the stop file {file} exists already; remove it when the robot may move again")
        self._file = file
        self._pulled: str | None = None

    def pull(self, why: str) -> None:
        """Ask for the stop."""
        self._pulled = self._pulled or why

    def pulled(self) -> str | None:
        """Who asked for it, or None."""
        if self._pulled is None and self._file.exists():
            self.pull(f"the stop file {self._file}")
        if self._pulled is None and (key := _key()) is not None:
            self.pull(f"the key {key!r}")
        return self._pulled

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, signals pull the stop instead of ending the program, and a terminal gives single keys."""

        def pull(number: int, frame: FrameType | None) -> None:
            self.pull(signal.Signals(number).name)

        before = {number: signal.signal(number, pull) for number in (signal.SIGINT, signal.SIGTERM)}
        terminal = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
        if terminal is not None:
            tty.setcbreak(sys.stdin)
        try:
            yield
        finally:
            if terminal is not None:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, terminal)
            for number, handler in before.items():
                signal.signal(number, handler)


def _key() -> str | None:
    """A key of the terminal that means stop, if one was pressed."""
    if not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0)[0]:
        return None
    pressed = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
    return next((key for key in pressed if key in _KEYS), None)


class Watchdog:
    """Stops the robot when the loop gives no sign of life, or when a person asks for it while the loop hangs.

    Args:
        brake: to pull.
        emergency: a person's wish.
        clock: to measure the silence.
        limit_s: seconds the loop may be silent.
    """

    def __init__(self, brake: Brake, emergency: EmergencyStop, clock: Clock, limit_s: float) -> None:
        self._brake, self._emergency, self._clock, self._limit_s = brake, emergency, clock, limit_s
        self._alive = clock.now()
        self._ended = threading.Event()

    def beat(self) -> None:
        """The loop is alive."""
        self._alive = self._clock.now()

    def check(self) -> None:
        """Pull the brake if there is reason to."""
        silent = self._clock.now() - self._alive
        if (who := self._emergency.pulled()) is not None:
            self._brake.stop(Fault("emergency_stop", f"stopped by {who}"))
        elif silent > self._limit_s:
            self._brake.stop(
                Fault("watchdog", f"the control loop was silent for {silent:.2f} s, {self._limit_s:g} s are allowed")
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Check from a thread of its own, some twenty times a second."""

        def watch() -> None:
            while self._brake.fault is None or failing:
                if self._ended.wait(0.05):
                    return
                try:
                    self.check()
                    failing.clear()
                except Exception as error:  # try again: nobody else may be able to
                    if not failing:
                        print(f"STOPPING FAILED, use the arm's own button: {error}", file=sys.stderr)
                    failing.append(error)

        failing: list[Exception] = []
        thread = threading.Thread(target=watch, name="watchdog", daemon=True)
        self.beat()
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
