"""Suite ``pedestal``: put a thing on a bare pedestal of a colour.

Pedestals are support, never a goal, in the other suites, and the shipped policies were not trained on this one: it is
what a policy is adapted to in ``thinkvla demo``. Each scene has two pedestals of different colours and heights (those
of ``height``), a container, the target and two other things.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from thinkvla.tabletop.placement import Stack, alone, place, random_start
from thinkvla.tabletop.scene import SceneSpec, ThingSpec
from thinkvla.tabletop.suites.common import confusable, task_name
from thinkvla.tabletop.suites.height import HEIGHTS, PEDESTALS
from thinkvla.tabletop.tasks import Task

_PAIRS = (
    ("red cube", "blue"),
    ("green ball", "brown"),
    ("yellow car", "white"),
    ("white mug", "orange"),
    ("blue mug", "white"),
    ("purple cube", "orange"),
    ("orange ball", "brown"),
    ("red car", "blue"),
    ("green cylinder", "white"),
    ("red cube", "brown"),
)
_CONTAINER = "green plate"


def _sample(target: str, colour: str, told: str, rng: np.random.Generator) -> SceneSpec:
    second = str(rng.choice([other for other in PEDESTALS if other != colour]))
    stacks = [alone(_CONTAINER), _pedestal(colour, rng), _pedestal(second, rng)]
    stacks += [alone(name) for name in (target, *confusable(target, rng)[:2])]
    return SceneSpec(place(stacks, rng), told, target, f"{colour} pedestal", robot=random_start(rng))


def _pedestal(colour: str, rng: np.random.Generator) -> Stack:
    height = float(rng.uniform(*HEIGHTS[rng.integers(len(HEIGHTS))]))
    return (ThingSpec("pedestal", colour, 0.0, 0.0, height=height),)


def _task(target: str, colour: str) -> Task:
    told = f"put the {target} on the {colour} pedestal"
    return Task("pedestal", task_name(told), partial(_sample, target, colour, told), max_steps=100)


TASKS: tuple[Task, ...] = tuple(_task(target, colour) for target, colour in _PAIRS)
