"""The original SimplerEnv (SAPIEN 2.2.2, ManiSkill2_real2sim) through vla-eval's own class of it.

For users who have it installed: its numbers are the ones that papers report. What is added here is what a policy of
this project expects: actions of the ``bridge`` embodiment, its image size, all four tasks in one benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from vla_eval.benchmarks.base import StepResult
from vla_eval.benchmarks.simpler.benchmark import SimplerEnvBenchmark
from vla_eval.specs import DimSpec

from thinkvla.contract import Observation
from thinkvla.evaluate.wire import action_spec, encode_observation, observation_spec
from thinkvla.simulators.simpler.actions import original_action
from thinkvla.simulators.simpler.embodiment import CAMERAS, IMAGE_SIZE, embodiment
from thinkvla.simulators.simpler.protocol import protocol, versions
from thinkvla.simulators.simpler.tasks import MAX_STEPS, SUITE, TASKS, choose_tasks
from thinkvla.simulators.simpler.views import resized


class OriginalBenchmark(SimplerEnvBenchmark):  # type: ignore[misc]  # vla-eval ships no types
    """Episode k of each task is its layout ``first_seed + k``, of 0 to 23; success is being done at the step limit.

    Args:
        tasks: names of tasks; none means all four.
        max_steps: step limit of every episode.
        first_seed: layout of each task's first episode.
        cameras: what the policy calls its one view.
        image_size: (height, width) that the policy expects.
        observe_every: the policy looks every so many steps; observations between are empty.
    """

    def __init__(
        self,
        tasks: Sequence[str] = (),
        max_steps: int = MAX_STEPS,
        first_seed: int = 0,
        cameras: Sequence[str] = CAMERAS,
        image_size: Sequence[int] = IMAGE_SIZE,
        observe_every: int = 1,
    ) -> None:
        super().__init__(max_episode_steps=max_steps, success_mode="truncation", seed=0)
        self._tasks = choose_tasks(tasks)
        self._embodiment = embodiment(cameras, image_size)
        self._first_seed, self._observe_every, self._steps = first_seed, observe_every, 0

    def get_tasks(self) -> list[dict[str, Any]]:
        """One entry for each task."""
        return [{"name": task.name, "suite": SUITE, "instruction": task.instruction} for task in self._tasks]

    def reset(self, task: dict[str, Any]) -> Any:
        """Begin the episode ``task["episode_idx"]`` of a task."""
        self.task_name, self._steps = TASKS[task["name"]].original, 0
        return super().reset({**task, "episode_idx": self._first_seed + task["episode_idx"]})

    def step(self, action: dict[str, Any]) -> StepResult:
        """Execute one action, float32 (7,)."""
        self._steps += 1
        return super().step({"actions": original_action(action["actions"])})

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        """The observation message; empty while a chunk is running."""
        if self._steps % self._observe_every:
            return {}
        view = np.asarray(super().make_obs(raw_obs, task)["images"]["primary"])
        images = {camera: resized(view, self._embodiment.image_size) for camera in self._embodiment.cameras}
        return encode_observation(Observation(images, TASKS[task["name"]].instruction))

    def get_metadata(self) -> dict[str, Any]:
        """The step limit, the rules of the episodes and the simulator's software."""
        rules = protocol(self.max_episode_steps) | {"simulator": "the original SimplerEnv"}
        return {"max_steps": self.max_episode_steps, "protocol": rules, "versions": versions()}

    def get_action_spec(self) -> dict[str, DimSpec]:
        """What the robot accepts."""
        return action_spec(self._embodiment)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """What the robot shows."""
        return observation_spec(self._embodiment)
