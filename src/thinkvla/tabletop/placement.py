"""Random layouts in which nothing overlaps, the gripper reaches between, and no thing hides another.

What is placed are stacks: a thing alone, or on its pedestal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from thinkvla.tabletop.scene import FRONT, RobotStart, ThingSpec

AREA = ((0.32, 0.60), (-0.24, 0.24))
"""Range of x and of y for the centres of things, metres."""
RAISED_AREA = ((0.32, 0.57), (-0.20, 0.20))
"""The same for what stands on a pedestal: there the front camera's picture is narrower."""
GAP = 0.034
"""Free table between the circles around two things, metres: room for an open finger."""
RAISED_GAP = 0.050
"""The same beside a pedestal, which rises to where the palm needs room as well."""
LARGEST_YAW = 0.6
"""Radians by which things are turned, either way; those with a front also face backwards half of the time."""
TRIES = 40
"""Places tried for a stack before the whole layout begins anew."""

Stack = tuple[ThingSpec, ...]
"""Things above one another, the lowest first; x, y and yaw are still to be drawn."""


def alone(name: str, alpha: float = 1.0) -> Stack:
    """A thing named ``<colour> <shape>``, standing on the table; ``alpha`` is its opacity."""
    colour, shape = name.rsplit(" ", 1)
    return (ThingSpec(shape, colour, 0.0, 0.0, alpha=alpha),)


def raised(name: str, colour: str, height: float) -> Stack:
    """A thing named ``<colour> <shape>`` on a pedestal of that colour, ``height`` metres high."""
    (thing,) = alone(name)
    return ThingSpec("pedestal", colour, 0.0, 0.0, height=height), replace(thing, base=height)


def place(
    stacks: Sequence[Stack],
    rng: np.random.Generator,
    accept: Callable[[tuple[ThingSpec, ...]], bool] = lambda things: True,
) -> tuple[ThingSpec, ...]:
    """Put stacks on the table at random; list the large ones first.

    Args:
        stacks: what to put there.
        rng: decides where.
        accept: whether a finished layout will do; the first that does is returned.

    Returns:
        the things of all stacks, in their order.
    """
    while True:
        placed: list[Stack] = []
        for stack in stacks:
            found = _free_place(stack, placed, rng)
            if found is None:
                break
            placed.append(found)
        else:
            things = tuple(thing for stack in placed for thing in stack)
            if accept(things):
                return things


def random_start(rng: np.random.Generator) -> RobotStart:
    """Where the hand begins: within 3 to 4 cm of (0.40, 0, 0.24) m, turned by up to 0.12 rad."""
    position = (0.40 + rng.uniform(-0.03, 0.03), rng.uniform(-0.04, 0.04), 0.24 + rng.uniform(-0.03, 0.03))
    return RobotStart(position, rng.uniform(-0.12, 0.12))


def _free_place(stack: Stack, taken: Sequence[Stack], rng: np.random.Generator) -> Stack | None:
    """The stack where it is clear of those taken, or None when no place was found."""
    for _ in range(TRIES):
        x, y = (float(rng.uniform(*limits)) for limits in (AREA if len(stack) == 1 else RAISED_AREA))
        yaw = float(rng.uniform(-LARGEST_YAW, LARGEST_YAW))
        if stack[-1].kind.has_front and rng.random() < 0.5:
            yaw += np.pi
        placed = tuple(replace(thing, x=x, y=y, yaw=yaw) for thing in stack)
        if all(_apart(placed, other) and not hides(placed, other) and not hides(other, placed) for other in taken):
            return placed
    return None


def _apart(one: Stack, other: Stack) -> bool:
    gap = GAP if len(one) == len(other) == 1 else RAISED_GAP
    distance = np.hypot(one[0].x - other[0].x, one[0].y - other[0].y)
    return bool(distance - _radius(one) - _radius(other) >= gap)


def hides(one: Stack, other: Stack) -> bool:
    """Whether the front camera sees the middle of ``other``'s upper thing through ``one``'s enclosing cylinders."""
    seen = other[-1]
    middle = np.array([seen.x, seen.y, (seen.base + seen.top) / 2])
    way = np.subtract(FRONT.position, middle)
    ahead = way[:2] / np.linalg.norm(way[:2])
    offset = np.array([one[0].x - seen.x, one[0].y - seen.y])
    along, beside = offset @ ahead, abs(offset[0] * ahead[1] - offset[1] * ahead[0])
    for thing in one:
        if beside < thing.radius and along > 0:
            entry = along - np.sqrt(thing.radius**2 - beside**2)
            if middle[2] + entry * way[2] / np.linalg.norm(way[:2]) < thing.top:
                return True
    return False


def _radius(stack: Stack) -> float:
    return max(thing.radius for thing in stack)
