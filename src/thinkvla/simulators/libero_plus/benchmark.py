"""LIBERO-Plus through vla-eval's own class: one dimension over LIBERO's four suites, one trial a task.

The class is the harness's and the simulator is the benchmark's; here stand what a policy of ours sees and says, and
what is done about the benchmark's traps. In its released form (``as_released``) a policy is told the name of the
perturbation in every dimension but language ("… view 0 0 100 0 0 initstate 1"), and the perturbed pose of the robot is
overwritten by the stored state before the first step. Otherwise the suffix is left away and the pose is kept.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_eval.benchmarks.base import StepResult
from vla_eval.benchmarks.libero.benchmark import MAX_STEP_MAPPING
from vla_eval.benchmarks.libero_plus.benchmark import LIBEROPlusBenchmark
from vla_eval.specs import DimSpec

from thinkvla.contract import Embodiment, Observation
from thinkvla.data.embodiments import SPECIFICATIONS
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.evaluate.wire import action_spec, encode_observation, observation_spec
from thinkvla.simulators.libero.sensing import Sensor
from thinkvla.simulators.libero.views import as_seen
from thinkvla.simulators.libero.world import CAMERAS, to_simulator
from thinkvla.simulators.libero_plus.repository import prepare
from thinkvla.simulators.libero_plus.variants import (
    DIMENSIONS,
    SUITES,
    check_dimension,
    choose,
    instruction_of,
    plain_task,
)

CONTROL_HZ = 20.0
PACKAGES = ("robosuite", "mujoco", "bddl", "numpy", "vla-eval")


class LiberoPlusBenchmark(LIBEROPlusBenchmark):  # type: ignore[misc]  # vla-eval ships no types
    """One dimension of LIBERO-Plus.

    Args:
        dimension: ``camera``, ``robot``, ``language``, ``light``, ``background``, ``noise`` or ``layout``.
        tasks: names of its tasks; none means all.
        sample: so many of its tasks, the same each time; none means all.
        as_released: instructions with the perturbation's name and the robot at its plain pose, as the released code has
            them.
        cameras: the views that the policy sees, of ``front`` and ``wrist``.
        image_size: (height, width) in which it sees them.
        observe_every: the policy looks every so many steps; the simulator renders in all of them.
        privileged: add the ground truth to observations, for the scripted expert.
        seed: of the fixtures' places and of the noise, set anew for each task.

    Raises ValueError for an unknown dimension, task or camera, or a sample that is too large.
    """

    def __init__(
        self,
        dimension: str,
        tasks: Sequence[str] = (),
        sample: int | None = None,
        as_released: bool = False,
        cameras: Sequence[str] = tuple(CAMERAS),
        image_size: Sequence[int] = (224, 224),
        observe_every: int = 1,
        privileged: bool = False,
        seed: int = 7,
    ) -> None:
        check_dimension(dimension)
        if unknown := [camera for camera in cameras if camera not in CAMERAS]:
            raise ValueError(f"LIBERO-Plus shows {', '.join(CAMERAS)}; the policy wants to see {', '.join(unknown)}")
        super().__init__(category=DIMENSIONS[dimension], suite=SUITES[0], seed=seed, send_wrist_image=True)
        self._dimension, self._as_released = dimension, as_released
        self._names, self._sample = tuple(tasks), sample
        self._cameras, self._size = tuple(cameras), (int(image_size[0]), int(image_size[1]))
        self._observe_every, self._privileged = observe_every, privileged
        self._suites: dict[str, Any] = {}
        self._steps = 0

    @property
    def embodiment(self) -> Embodiment:
        """The robot, with the views in the size that the policy sees."""
        spec = SPECIFICATIONS["libero"]  # as the published demonstrations have it
        return replace(spec.embodiment(CONTROL_HZ), cameras=self._cameras, image_size=self._size)

    def get_tasks(self) -> list[dict[str, Any]]:
        """One entry for each chosen task, with the instruction that the policy is given."""
        found = {}
        for suite in SUITES:
            self._enter(suite)
            plain = _plain_tasks(suite)
            for task in super().get_tasks():
                name = task["task_obj"].name
                instruction = task["name"]
                if self._dimension != "language" and not self._as_released:
                    instruction = instruction_of(plain_task(name, plain))
                found[name] = {**task, "name": name, "instruction": instruction, "suite": suite}
        if unknown := [name for name in self._names if name not in found]:
            raise ValueError(f"LIBERO-Plus has no task '{unknown[0]}' of dimension '{self._dimension}'")
        chosen = self._names or choose(list(found), self._dimension, self._sample)
        return [found[name] for name in found if name in chosen]

    def reset(self, task: dict[str, Any]) -> Any:
        """Begin a task; raises ValueError naming the file when the benchmark's assets lack one that it needs."""
        self._enter(task["suite"])
        self._steps, self._current_task_id = 0, None  # a new environment: seeds and models as if it were the only task
        try:
            return super().reset({**task, "episode_idx": 0})
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise ValueError(
                f"LIBERO-Plus's task '{task['name']}' cannot be made: {error}; if that is a file of the benchmark's "
                "archive of assets, link it: thinkvla env install libero_plus --repository FOLDER --assets FOLDER"
            ) from error

    def step(self, action: dict[str, Any]) -> StepResult:
        """Execute one action, float32 (7,); done at success or at the suite's step limit."""
        result = super().step({"actions": to_simulator(action["actions"])})
        self._steps += 1
        over = self._steps >= MAX_STEP_MAPPING[self.suite]
        return StepResult(result.obs, result.reward, result.done or over, {"success": result.done})

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        """The observation message; empty while a chunk is running."""
        if self._steps % self._observe_every:
            return {}
        images = {view: as_seen(raw_obs[f"{CAMERAS[view]}_image"], self._size) for view in self._cameras}
        if not self._privileged:
            return encode_observation(Observation(images, task["instruction"]))
        truth = Sensor(self._env.env).truth().to_plain()
        return encode_observation(PrivilegedObservation(images, task["instruction"], truth))

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """Whether the task is done."""
        return {"success": bool(step_result.info["success"])}

    def get_metadata(self) -> dict[str, Any]:
        """The largest step limit, the protocol in words and numbers, and the simulator's versions."""
        return {
            "max_steps": max(MAX_STEP_MAPPING[suite] for suite in SUITES),
            "protocol": {
                "benchmark": f"LIBERO-Plus, the official tasks of dimension '{DIMENSIONS[self._dimension]}'",
                "tasks": "all" if self._sample is None else f"a sample of {self._sample}, the same each time",
                "step limits": {suite: MAX_STEP_MAPPING[suite] for suite in SUITES},
                "trials": "one a task, from its first initial state",
                "instruction": "with the perturbation's name" if self._as_released else "the task's own",
                "robot": "set_init_state's pose" if self._as_released else "the perturbed pose, after set_init_state",
                "noise": "on the third-person view alone, drawn anew in each frame, by the benchmark",
                "waiting steps before": f"{self.num_steps_wait} of [0, 0, 0, 0, 0, 0, -1]",
                "views": f"rendered at 256 px in each step, turned by 180 degrees, resized to {self._size} (bilinear)",
                "looks": f"every {self._observe_every} steps, what lies between is executed open loop",
                "gripper": "the policy's 1 open, 0 closed becomes 1 - 2 * (g > 0.5)",
                "seed": self.seed,
            },
            "versions": versions(),
        }

    def get_action_spec(self) -> dict[str, DimSpec]:
        """What the robot accepts."""
        return action_spec(self.embodiment)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """What the robot shows."""
        return observation_spec(self.embodiment)

    def _enter(self, suite: str) -> None:
        """Let vla-eval's class, which knows one suite, be at ``suite``."""
        prepare()
        self.suite, self._classification = suite, None
        if suite not in self._suites:
            self._task_suite = None
            self._init_libero()
            self._suites[suite] = _States(self._task_suite, self)
        self._task_suite = self._suites[suite]

    def robot_pose(self) -> NDArray[np.float64] | None:
        """(7,) joint angles at which the arm begins, radians; None for those of the stored state."""
        if self._dimension != "robot" or self._as_released:
            return None
        return np.asarray(self._env.robots[0].init_qpos, np.float64)


class _States:
    """A suite of the benchmark, whose stored states have the arm where it is to begin.

    Args:
        suite: the benchmark's.
        benchmark: knows the arm's pose.
    """

    def __init__(self, suite: Any, benchmark: LiberoPlusBenchmark) -> None:
        self._suite, self._benchmark = suite, benchmark

    def __getattr__(self, name: str) -> Any:
        return getattr(self._suite, name)

    def get_task_init_states(self, number: int) -> NDArray[np.float64]:
        """(N, 1 + nq + nv): the arm's joints come first among the positions."""
        states = np.array(self._suite.get_task_init_states(number), np.float64)
        if (pose := self._benchmark.robot_pose()) is not None:
            states[:, 1 : 1 + len(pose)] = pose
        return states


def _plain_tasks(suite: str) -> list[str]:
    """LIBERO's own tasks of a suite: those that the repository has stored states of."""
    from libero.libero import get_libero_path

    return sorted(file.stem for file in (Path(get_libero_path("init_states")) / suite).glob("*.pruned_init"))


def versions() -> dict[str, str]:
    """Software of a LIBERO-Plus simulator, which repository it is of, and how it renders."""
    from thinkvla.environments.linked import linked

    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
        "repository": json.dumps(linked()),
        "rendering": os.environ.get("MUJOCO_GL", ""),
    }
