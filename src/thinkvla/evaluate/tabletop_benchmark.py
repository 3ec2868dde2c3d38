"""Tabletop as a vla-eval benchmark: what runs in each simulator process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import DimSpec

from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.evaluate.wire import action_spec, encode_observation, observation_spec
from thinkvla.tabletop.demonstrate import POINT_MAP_STRIDE
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.perturbations import Perturbation, perturbed
from thinkvla.tabletop.suites import choose_tasks
from thinkvla.tabletop.world import World


class TabletopBenchmark(StepBenchmark):  # type: ignore[misc]  # vla-eval ships no types
    """Episode k of each task starts from seed ``first_seed + k`` and ends with success or at the task's step limit.

    The executed actions are recorded, one row a step, so that an episode can be replayed.

    Args:
        suite: name of the suite.
        first_seed: seed of each task's first episode.
        tasks: names of tasks of the suite; none means all.
        observe_every: an observation is only rendered every so many steps, when the policy looks; empty otherwise.
        privileged: add task, seed and simulator snapshot to observations, for the scripted expert.
        perturbation: axis along which all scenes are perturbed; none means plain scenes.
        level: the perturbation's level.
        point_map_size: (rows, columns) of the true 3D points that are added to observations, for a policy that is given
            them; tabletop has them in one size.
    """

    def __init__(
        self,
        suite: str,
        first_seed: int,
        tasks: Sequence[str] = (),
        observe_every: int = 1,
        privileged: bool = False,
        perturbation: str | None = None,
        level: int = 0,
        point_map_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self._suite, self._first_seed = suite, first_seed
        change = None if perturbation is None else Perturbation(perturbation, level)
        self._tasks = {task.name: perturbed(task, change) for task in choose_tasks(suite, tasks)}
        self._observe_every, self._privileged = observe_every, privileged
        self._point_maps = point_map_size is not None
        self._world: World | None = None
        self._seed = self._steps = 0

    def get_tasks(self) -> list[dict[str, Any]]:
        """One entry for each task."""
        return [{"name": name, "suite": self._suite} for name in self._tasks]

    def reset(self, task: dict[str, Any]) -> None:
        """Begin the episode ``task["episode_idx"]`` of a task."""
        wanted = self._tasks[task["name"]]
        if self._world is None or self._world.task is not wanted:
            self.cleanup()
            self._world = World(wanted)
        self._seed, self._steps = self._first_seed + task["episode_idx"], 0
        self._world.reset(self._seed)

    def step(self, action: dict[str, Any]) -> StepResult:
        """Execute one action, float32 (7,); done at success or at the step limit."""
        world = self._running()
        world.step(action["actions"])
        self._steps += 1
        self._recorder.record_step(action=action["actions"].tolist())
        success = world.succeeded()
        return StepResult(None, float(success), success or self._steps >= world.task.max_steps, {})

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        """The observation message; empty while a chunk is running."""
        if self._steps % self._observe_every:
            return {}
        world = self._running()
        seen = world.observe()
        if self._point_maps:
            # Rounded as data sets hold them, so that the policy is shown what it was trained on.
            maps = world.point_maps(POINT_MAP_STRIDE).astype(np.float16).astype(np.float32)
            seen = replace(seen, point_maps=dict(zip(TABLETOP.cameras, maps, strict=True)))
        if self._privileged:
            truth = {
                "suite": self._suite,
                "task": world.task.name,
                "seed": self._seed,
                "snapshot": world.snapshot(),
            }
            seen = PrivilegedObservation(seen.images, seen.instruction, truth)
        return encode_observation(seen)

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """Whether the task is done."""
        return {"success": self._running().succeeded()}

    def get_metadata(self) -> dict[str, Any]:
        """The largest step limit; each task's own is kept in ``step``."""
        return {"max_steps": max(task.max_steps for task in self._tasks.values())}

    def get_action_spec(self) -> dict[str, DimSpec]:
        """What the robot accepts."""
        return action_spec(TABLETOP)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """What the robot shows."""
        height, width = (size // POINT_MAP_STRIDE for size in TABLETOP.image_size)
        return observation_spec(replace(TABLETOP, point_map_size=(height, width) if self._point_maps else None))

    def cleanup(self) -> None:
        """Free the world's renderer."""
        if self._world is not None:
            self._world.close()
            self._world = None

    def _running(self) -> World:
        assert self._world is not None, "reset comes first"
        return self._world
