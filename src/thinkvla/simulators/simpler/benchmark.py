"""The four tasks as a vla-eval benchmark: what runs in each simulator process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import DimSpec

from thinkvla.contract import Observation
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.evaluate.wire import action_spec, encode_observation, observation_spec
from thinkvla.simulators.simpler.assets import TABLES, prepare_assets
from thinkvla.simulators.simpler.embodiment import CAMERAS, IMAGE_SIZE, embodiment
from thinkvla.simulators.simpler.protocol import protocol, versions
from thinkvla.simulators.simpler.tasks import MAX_STEPS, SUITE, choose_tasks
from thinkvla.simulators.simpler.views import resized
from thinkvla.simulators.simpler.world import World


class SimplerBenchmark(StepBenchmark):  # type: ignore[misc]  # vla-eval ships no types
    """Episode k of each task is its layout ``first_seed + k``, of 0 to 23.

    Every episode runs to the step limit, and is a success if the task is done then; being done for a while is not
    enough. Whether it was done is recorded at each step, with the action.

    Args:
        assets: folder or archive of the tasks' files (see ``assets.py``).
        tasks: names of tasks; none means all four.
        max_steps: step limit of every episode.
        first_seed: layout of each task's first episode.
        cameras: what the policy calls its one view; with none, as for the expert, nothing is rendered.
        image_size: (height, width) that the policy expects.
        observe_every: the view is only rendered every so many steps, when the policy looks; empty otherwise.
        privileged: add task, layout and the simulator's truth to observations, for the scripted expert.
    """

    render_backends: ClassVar[frozenset[str]] = frozenset({"gpu", "cpu"})  # rendered on the CPU in either case

    def __init__(
        self,
        assets: str,
        tasks: Sequence[str] = (),
        max_steps: int = MAX_STEPS,
        first_seed: int = 0,
        cameras: Sequence[str] = CAMERAS,
        image_size: Sequence[int] = IMAGE_SIZE,
        observe_every: int = 1,
        privileged: bool = False,
    ) -> None:
        super().__init__()
        self._tasks = {task.name: task for task in choose_tasks(tasks)}
        self._assets = prepare_assets(Path(assets))
        self._max_steps, self._first_seed = max_steps, first_seed
        self._embodiment = embodiment(cameras, image_size)
        self._observe_every, self._privileged = observe_every, privileged
        self._world: World | None = None
        self._steps = 0

    @classmethod
    def configure_render(cls, mode: str) -> dict[str, str]:
        """Nothing to set: the environment names its Vulkan driver."""
        return {}

    def get_tasks(self) -> list[dict[str, Any]]:
        """One entry for each task."""
        return [{"name": task.name, "suite": SUITE, "instruction": task.instruction} for task in self._tasks.values()]

    def reset(self, task: dict[str, Any]) -> None:
        """Begin the episode ``task["episode_idx"]`` of a task."""
        wanted = self._tasks[task["name"]]
        if self._world is None or self._world.task is not wanted:
            self.cleanup()
            self._world = World(wanted, self._assets)
        self._steps = 0
        self._world.reset(self._first_seed + task["episode_idx"])

    def step(self, action: dict[str, Any]) -> StepResult:
        """Execute one action, float32 (7,); the episode is over at the step limit alone."""
        done = self._running().step(action["actions"])
        self._steps += 1
        self._recorder.record_step(action=action["actions"].tolist(), done=done)
        return StepResult(None, float(done), self._steps >= self._max_steps, {"success": done})

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        """The observation message; empty while a chunk is running."""
        if self._steps % self._observe_every:
            return {}
        world = self._running()
        images = {camera: resized(world.image(), self._embodiment.image_size) for camera in self._embodiment.cameras}
        seen = Observation(images, world.task.instruction)
        if self._privileged:
            truth = {"task": world.task.name, "state": world.state().to_vector()}
            seen = PrivilegedObservation(images, world.task.instruction, truth)
        return encode_observation(seen)

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """Whether the task was done at the last step."""
        return {"success": bool(step_result.info["success"])}

    def get_metadata(self) -> dict[str, Any]:
        """The step limit, the rules of the episodes and the simulator's software."""
        rules = protocol(self._max_steps) | {
            "simulator": "ManiSkill3; not the original SimplerEnv, whose numbers papers report",
            "rendering": "SAPIEN on the CPU, only when the policy looks",
            "table": TABLES[self._assets.table],
        }
        return {"max_steps": self._max_steps, "protocol": rules, "versions": versions()}

    def get_action_spec(self) -> dict[str, DimSpec]:
        """What the robot accepts."""
        return action_spec(self._embodiment)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """What the robot shows."""
        return observation_spec(self._embodiment)

    def cleanup(self) -> None:
        """Free the world."""
        if self._world is not None:
            self._world.close()
            self._world = None

    def _running(self) -> World:
        assert self._world is not None, "reset comes first"
        return self._world
