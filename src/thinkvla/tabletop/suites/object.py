"""Suite ``object``: which thing to put where.

Every scene holds the target, three other things and a second container, all drawn from those the ten tasks name, and
at least one of the other things shares the target's shape or colour: only the instruction says what to do.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from thinkvla.tabletop.placement import alone, place, random_start
from thinkvla.tabletop.scene import SceneSpec
from thinkvla.tabletop.suites.common import confusable, instruction, task_name
from thinkvla.tabletop.tasks import Task

_PAIRS = (
    ("red cube", "blue plate"),
    ("green ball", "red bowl"),
    ("yellow car", "white tray"),
    ("white mug", "green plate"),
    ("blue mug", "brown box"),
    ("purple cube", "white tray"),
    ("orange ball", "brown box"),
    ("red car", "blue plate"),
    ("green cylinder", "red bowl"),
    ("red cube", "green plate"),
)
_CONTAINERS = tuple(dict.fromkeys(container for _, container in _PAIRS))


def _sample(target: str, container: str, told: str, rng: np.random.Generator) -> SceneSpec:
    others = confusable(target, rng)
    containers = [container, str(rng.choice([name for name in _CONTAINERS if name != container]))]
    things = place([alone(name) for name in (*containers, target, *others)], rng)
    return SceneSpec(things, told, target, container, robot=random_start(rng))


def _task(target: str, container: str) -> Task:
    told = instruction(target, container, container.split()[1])
    return Task("object", task_name(told), partial(_sample, target, container, told))


TASKS: tuple[Task, ...] = tuple(_task(target, container) for target, container in _PAIRS)
