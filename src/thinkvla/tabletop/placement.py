"""Random layouts in which nothing overlaps and the gripper reaches between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkvla.tabletop.scene import ThingSpec

AREA = ((0.32, 0.60), (-0.24, 0.24))
"""Range of x and of y for the centres of things, metres."""
GAP = 0.034
"""Free table between the circles around two things, metres: room for an open finger."""
LARGEST_YAW = 0.6
"""Radians by which things are turned, either way; those with a front also face backwards half of the time."""


def place(names: Sequence[str], rng: np.random.Generator) -> tuple[ThingSpec, ...]:
    """Put things, named ``<colour> <shape>``, on the table at random; list the large ones first."""
    while True:
        things: list[ThingSpec] = []
        for name in names:
            thing = _free_place(name, things, rng)
            if thing is None:
                break
            things.append(thing)
        else:
            return tuple(things)


def _free_place(name: str, taken: Sequence[ThingSpec], rng: np.random.Generator) -> ThingSpec | None:
    colour, shape = name.rsplit(" ", 1)
    for _ in range(40):
        x, y = (float(rng.uniform(*limits)) for limits in AREA)
        yaw = float(rng.uniform(-LARGEST_YAW, LARGEST_YAW))
        thing = ThingSpec(shape, colour, x, y, yaw)
        if thing.kind.has_front and rng.random() < 0.5:
            thing = ThingSpec(shape, colour, x, y, yaw + np.pi)
        distances = (np.hypot(x - o.x, y - o.y) - thing.kind.radius - o.kind.radius for o in taken)
        if all(distance >= GAP for distance in distances):
            return thing
    return None
