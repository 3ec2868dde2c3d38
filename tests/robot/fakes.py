"""A clock, a robot and a policy that do as they are told, and fail when they are told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tiny_models import EMBODIMENT

from thinkvla.contract import ActionChunk, Actions, Image, Observation
from thinkvla.robot.protocol import Command, Sight


class FakeClock:
    """Stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.time += seconds


class FakeRobot:
    """Writes down what it is told; ``before`` hooks are called with the number of the step that begins."""

    embodiment = EMBODIMENT

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.log: list[str] = []
        self.acted: list[list[float]] = []
        self.seen = 0
        self.age = 0.0
        self.done_at: int | None = None
        self.on_observe: Callable[[int], None] = lambda step: None
        self.on_act: Callable[[int], None] = lambda step: None
        self.on_stop: Callable[[], None] = lambda: None
        self.closed = False

    def images(self) -> dict[str, Image]:
        return {name: np.full((96, 96, 3), self.seen % 256, np.uint8) for name in EMBODIMENT.cameras}

    def observe(self) -> Sight:
        self.on_observe(self.seen)
        sight = Sight(self.images(), self.clock.now() - self.age, self.seen == self.done_at)
        self.seen += 1
        return sight

    def command(self, action: Actions) -> Command:
        return {"action": [float(v) for v in action]}

    def act(self, command: Command) -> None:
        self.on_act(len(self.acted))
        self.log.append("act")
        self.acted.append(command["action"])

    def stop(self) -> None:
        self.on_stop()
        self.log.append("stop")

    def close(self) -> None:
        self.closed = True


class FakeThinker:
    """Answers after ``delay`` seconds of the clock; row k of the n-th chunk says 0.1 · n + 0.01 · k in x."""

    def __init__(self, clock: FakeClock, delay: float = 0.0) -> None:
        self.clock, self.delay = clock, delay
        self.asked: list[float] = []
        self.told: list[Actions | None] = []
        self.change: Callable[[Actions], None] = lambda actions: None
        self._ready: float | None = None

    def ask(self, observation: Observation, last: Actions | None) -> None:
        assert self._ready is None
        self.asked.append(self.clock.now())
        self.told.append(last)
        self._ready = self.clock.now() + self.delay

    def answer(self) -> ActionChunk | None:
        if self._ready is None or self.clock.now() < self._ready - 1e-9:
            return None
        self._ready = None
        actions = np.zeros((8, 7), np.float32)
        actions[:, 0] = 0.1 * len(self.asked) + 0.01 * np.arange(8)
        actions[:, 6] = 1
        self.change(actions)
        return ActionChunk(actions)
