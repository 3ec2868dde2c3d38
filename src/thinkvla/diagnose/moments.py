"""Moments to look at: held-out scenes on the expert's way, with the images a policy sees and the truth behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Image, Observation
from thinkvla.progress import progress
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.expert import Expert
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World

SEEDS = seeds("test")[9_000:]
"""Scenes that pictures are made of; evaluations in closed loop start with earlier test seeds."""
STEPS = (0, 8, 16, 24)
"""Control steps of the expert before a moment, in turn: from the first look to an object in the hand."""
STRIDE = 4
"""Pixels between two points of a point map, as in the demonstrations."""
PICTURE_SIZE = (192, 192)
"""Height and width of the pictures that are drawn on, pixels."""


@dataclass(frozen=True)
class Moment:
    """One moment of an episode.

    Attributes:
        task: name of its task.
        seed: seed of its scene.
        step: control steps the expert has done.
        observation: what a policy sees, and the instruction.
        points: float32 (V, H / STRIDE, W / STRIDE, 3), the true 3D points, metres, robot base frame.
        distances: float32 (V, H / STRIDE, W / STRIDE), metres from the camera to those points.
        names: str (V, H / STRIDE, W / STRIDE), what is seen there.
        roles: ``target`` and ``container`` → the thing's name in ``names``.
        pictures: the V views once more, larger, to draw on.
    """

    task: str
    seed: int
    step: int
    observation: Observation
    points: NDArray[np.float32]
    distances: NDArray[np.float32]
    names: NDArray[np.str_]
    roles: dict[str, str]
    pictures: tuple[Image, ...]

    @property
    def origin(self) -> dict[str, str | int]:
        """What is needed to see it again, as plain values."""
        return {
            "task": self.task,
            "instruction": self.observation.instruction,
            "seed": self.seed,
            "step": self.step,
        }


def moments(suite_name: str, count: int) -> list[Moment]:
    """``count`` moments of a suite; its tasks take turns. The same arguments give the same moments.

    Raises:
        ValueError: the suite is unknown, or there are too few seeds for ``count``.
    """
    tasks = suite(suite_name)
    if not 1 <= count <= len(SEEDS):
        raise ValueError(f"observations is {count}; expected 1 to {len(SEEDS)}, as many as there are seeds for")
    found = []
    with progress("scene") as display:
        for number in display.track(range(count), description="looking"):
            step = STEPS[number % len(STEPS)]
            found.append(_moment(tasks[number % len(tasks)], SEEDS[number], step))
    return found


def _moment(task: Task, seed: int, step: int) -> Moment:
    with World(task) as world:
        world.reset(seed)
        expert = Expert(world.scene)
        for _ in range(step):
            world.step(expert.act(world.state()))
        points = world.point_maps(STRIDE)
        cameras = np.array([camera.position for camera in world.state().cameras], np.float32)
        return Moment(
            task.name,
            seed,
            step,
            world.observe(),
            points,
            np.linalg.norm(points - cameras[:, None, None], axis=-1),
            world.names(STRIDE),
            {"target": world.scene.target, "container": world.scene.container},
            tuple(world.render(camera, PICTURE_SIZE) for camera in TABLETOP.cameras),
        )
