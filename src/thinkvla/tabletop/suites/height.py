"""Suites ``height`` and ``height_heldout``: things and containers on pedestals.

The target, its container or both stand on pedestals, each of a height of its own; so do some of the other things. The
two suites have the same ten instructions and differ in the heights alone. Held-out heights lie between the two training
ranges and above them, and are for evaluation only.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from thinkvla.tabletop.placement import Stack, alone, place, raised, random_start
from thinkvla.tabletop.scene import SceneSpec
from thinkvla.tabletop.suites.common import confusable, instruction, task_name
from thinkvla.tabletop.tasks import Task

HEIGHTS = ((0.02, 0.05), (0.08, 0.11))
"""Metres: ranges of the pedestals' heights in training."""
HELD_OUT_HEIGHTS = ((0.06, 0.07), (0.12, 0.13))
"""Metres: ranges kept for evaluation."""
PEDESTALS = ("white", "brown", "blue", "orange")
"""Colours of pedestals; another than that of what stands on it, and each at most once in a scene."""
RAISED = 0.6
"""Probability that the target stands on a pedestal, and that its container does; one of them always stands on one."""

Ranges = tuple[tuple[float, float], ...]

_PAIRS = (
    ("red cube", "blue plate"),
    ("green ball", "red bowl"),
    ("yellow car", "white tray"),
    ("white mug", "green plate"),
    ("blue mug", "red bowl"),
    ("purple cube", "brown box"),
    ("orange ball", "white tray"),
    ("red car", "green plate"),
    ("green cylinder", "blue plate"),
    ("red cube", "red bowl"),
)
_CONTAINERS = tuple(dict.fromkeys(container for _, container in _PAIRS))


def _sample(ranges: Ranges, target: str, container: str, told: str, rng: np.random.Generator) -> SceneSpec:
    others = confusable(target, rng)
    second = str(rng.choice([name for name in _CONTAINERS if name != container]))
    on_pedestals = rng.random(2) < RAISED
    if not on_pedestals.any():
        on_pedestals[rng.integers(2)] = True
    high = {name for name, yes in zip((target, container), on_pedestals, strict=True) if yes} | {others[0]}
    colours = [str(colour) for colour in rng.permutation(PEDESTALS)]
    stacks = [_stack(name, name in high, colours, ranges, rng) for name in (container, second, target, *others)]
    return SceneSpec(place(stacks, rng), told, target, container, robot=random_start(rng))


def _stack(name: str, high: bool, colours: list[str], ranges: Ranges, rng: np.random.Generator) -> Stack:
    if not high:
        return alone(name)
    colour = next(colour for colour in colours if colour != name.split()[0])
    colours.remove(colour)
    return raised(name, colour, float(rng.uniform(*ranges[rng.integers(len(ranges))])))


def _tasks(suite: str, ranges: Ranges) -> tuple[Task, ...]:
    told = {pair: instruction(*pair, pair[1].split()[1]) for pair in _PAIRS}
    return tuple(
        Task(suite, task_name(text), partial(_sample, ranges, *pair, text), max_steps=100)
        for pair, text in told.items()
    )


TASKS = _tasks("height", HEIGHTS)
HELD_OUT_TASKS = _tasks("height_heldout", HELD_OUT_HEIGHTS)
