"""Suite ``transparent``: see-through containers beside opaque ones.

Every scene holds two containers of one shape, one clear and one opaque. The ten tasks ask for either.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from thinkvla.tabletop.placement import alone, place, random_start
from thinkvla.tabletop.scene import SceneSpec
from thinkvla.tabletop.suites.common import confusable, instruction, task_name
from thinkvla.tabletop.tasks import Task

CLEAR = "clear"
OPACITY = 0.25
"""Of clear things."""
OPAQUE = ("red", "green", "blue", "brown", "white")
"""Colours of the container beside the clear one; a task that asks for an opaque one says which."""

_PAIRS = (
    ("red cube", "clear box"),
    ("green ball", "clear bowl"),
    ("yellow car", "clear tray"),
    ("white mug", "clear bowl"),
    ("blue mug", "brown box"),
    ("purple cube", "white tray"),
    ("orange ball", "clear box"),
    ("red car", "brown box"),
    ("green cylinder", "red bowl"),
    ("red cube", "clear tray"),
)


def _sample(target: str, container: str, told: str, rng: np.random.Generator) -> SceneSpec:
    others = confusable(target, rng)
    colour, shape = container.split()
    beside = str(rng.choice(OPAQUE)) if colour == CLEAR else CLEAR
    containers = [alone(f"{c} {shape}", OPACITY if c == CLEAR else 1.0) for c in (colour, beside)]
    things = place([*containers, *map(alone, (target, *others))], rng)
    return SceneSpec(things, told, target, container, robot=random_start(rng))


def _task(target: str, container: str) -> Task:
    told = instruction(target, container, container.split()[1])
    return Task("transparent", task_name(told), partial(_sample, target, container, told))


TASKS: tuple[Task, ...] = tuple(_task(target, container) for target, container in _PAIRS)
