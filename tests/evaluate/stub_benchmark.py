"""A benchmark without a simulator: a number must be pushed to one by the first action dimension."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import DimSpec

from thinkvla.contract import ActionChunk, Embodiment, Observation
from thinkvla.evaluate.wire import action_spec, encode_observation, observation_spec

ROBOT = Embodiment(
    name="stub",
    cameras=("front", "wrist"),
    image_size=(4, 6),
    control_hz=10.0,
    action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
    action_units=("0.05 m",) * 3 + ("0.5 rad",) * 3 + ("open or closed",),
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
)
MAX_STEPS = 12


def observation(level: int = 0) -> Observation:
    image = np.full((4, 6, 3), level, np.uint8)
    return Observation({"front": image, "wrist": image}, "push the number up")


class StubPolicy:
    """Pushes by a fixed amount; keeps the sizes of the batches it was given."""

    embodiment = ROBOT
    chunk = 4

    def __init__(self, push: float = 0.5) -> None:
        self.push = push
        self.batches: list[int] = []

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        self.batches.append(len(observations))
        actions = np.zeros((self.chunk, 7), np.float32)
        actions[:, 0] = self.push
        return [ActionChunk(actions) for _ in observations]


class StubBenchmark(StepBenchmark):  # type: ignore[misc]
    """Two tasks, one out of reach; ``crash``: task whose simulator raises, ``die``: one that ends its process."""

    def __init__(
        self,
        observe_every: int = 1,
        crash: str = "",
        die: str = "",
        tasks: Sequence[str] = (),
        first_seed: int = 0,
    ) -> None:
        super().__init__()
        self.observe_every, self.crash, self.die, self.names = observe_every, crash, die, tuple(tasks)
        self.value, self.steps, self.goal = 0.0, 0, 1.0

    def get_tasks(self) -> list[dict[str, Any]]:
        tasks = [{"name": "near", "goal": 1.0}, {"name": "far", "goal": 100.0}]
        return [task for task in tasks if not self.names or task["name"] in self.names]

    def reset(self, task: dict[str, Any]) -> None:
        if self.die in (task["name"], "*"):
            os._exit(3)
        self.value, self.steps, self.goal = 0.0, 0, task["goal"]

    def step(self, action: dict[str, Any]) -> StepResult:
        if self._task["name"] == self.crash and self.steps == 2:
            raise RuntimeError("the stub simulator broke")
        assert action["actions"].shape == (7,)
        self.value += float(action["actions"][0])
        self.steps += 1
        self._recorder.record_step(action=action["actions"].tolist())
        return StepResult(None, 0.0, self.value >= self.goal, {})

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        return {} if self.steps % self.observe_every else encode_observation(observation())

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        return {"success": self.value >= self.goal}

    def get_metadata(self) -> dict[str, Any]:
        return {"max_steps": MAX_STEPS, "protocol": {"step limit": MAX_STEPS}, "versions": {"stub": "1"}}

    def get_action_spec(self) -> dict[str, DimSpec]:
        return action_spec(ROBOT)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        return observation_spec(ROBOT)
