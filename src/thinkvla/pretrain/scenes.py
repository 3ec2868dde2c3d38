"""Training scenes of the embedded world, each visited at a few moments; what is recorded there is the caller's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkvla.tabletop.expert import Expert
from thinkvla.tabletop.scene import RobotStart, SceneSpec
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World

MOMENTS = 2
"""Moments of one scene: an early and a late one."""


@dataclass(frozen=True)
class Scene:
    """A task's scene for one seed.

    Attributes:
        suite: name of the suite.
        task: number of the task in it.
        seed: of the scene.
    """

    suite: str
    task: int
    seed: int


def training_scenes(suites: Sequence[str], count: int) -> list[Scene]:
    """``count`` scenes, tasks in turn, from the upper half of the training seeds, as all pictures for questions are.

    Raises:
        ValueError: a suite is unknown, or there are not that many seeds.
    """
    training = seeds("training")
    half = training[len(training) // 2 :]
    tasks = [(name, number) for name in suites for number in range(len(suite(name)))]
    if not 1 <= count <= len(half):
        raise ValueError(f"scenes is {count}; expected 1 to {len(half)}, one for each seed")
    return [Scene(*tasks[number % len(tasks)], half[number]) for number in range(count)]


def visit(scene: Scene) -> Iterator[tuple[World, np.random.Generator]]:
    """MOMENTS moments of an episode, from a start anywhere in the workspace half of the time.

    Yields the world at each moment, and the generator that decides everything about the scene's moments.
    """
    rng = np.random.default_rng([scene.seed, 3])
    task = suite(scene.suite)[scene.task]
    if rng.random() < 0.5:
        start = RobotStart(
            (rng.uniform(0.28, 0.62), rng.uniform(-0.26, 0.26), rng.uniform(0.05, 0.32)), rng.uniform(-1.2, 1.2)
        )
        task = dataclasses.replace(task, sample=_starting(task, start))
    with World(task) as world:
        world.reset(scene.seed)
        expert = Expert(world.scene)
        for longest in (6, 24):
            for _ in range(int(rng.integers(0, longest))):
                world.step(expert.act(world.state()))
            yield world, rng


def _starting(task: Task, start: RobotStart) -> Any:
    def sample(rng: np.random.Generator) -> SceneSpec:
        return dataclasses.replace(task.sample(rng), robot=start)

    return sample
