"""Suite ``object``: which thing to put where.

Every scene holds the target, three other things and a second container, all drawn from those the ten tasks name, and
at least one of the other things shares the target's shape or colour: only the instruction says what to do.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from thinkvla.tabletop.placement import place
from thinkvla.tabletop.scene import RobotStart, SceneSpec
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
_OBJECTS = tuple(dict.fromkeys(target for target, _ in _PAIRS))
_CONTAINERS = tuple(dict.fromkeys(container for _, container in _PAIRS))
_OTHERS = 3


def _sample(target: str, container: str, instruction: str, rng: np.random.Generator) -> SceneSpec:
    likeness = set(target.split())
    others = [name for name in _OBJECTS if name != target]
    alike = [name for name in others if likeness & set(name.split())]
    first = str(rng.choice(alike))
    rest = rng.choice([name for name in others if name != first], size=_OTHERS - 1, replace=False)
    containers = [container, str(rng.choice([name for name in _CONTAINERS if name != container]))]
    things = place([*containers, target, first, *map(str, rest)], rng)
    start = RobotStart(
        (0.40 + rng.uniform(-0.03, 0.03), rng.uniform(-0.04, 0.04), 0.24 + rng.uniform(-0.03, 0.03)),
        rng.uniform(-0.12, 0.12),
    )
    return SceneSpec(things, instruction, target, container, robot=start)


def _task(target: str, container: str) -> Task:
    where = "on" if container.endswith(("plate", "tray")) else "in"
    return Task(
        suite="object",
        name=f"{target} {where} {container}".replace(" ", "_"),
        sample=partial(_sample, target, container, f"put the {target} {where} the {container}"),
    )


TASKS: tuple[Task, ...] = tuple(_task(target, container) for target, container in _PAIRS)
