"""What several suites share: the things to pick up, and how an instruction is worded."""

from __future__ import annotations

import numpy as np

OBJECTS = (
    "red cube",
    "green ball",
    "yellow car",
    "white mug",
    "blue mug",
    "purple cube",
    "orange ball",
    "red car",
    "green cylinder",
)
"""Things to pick up by name, in the suites that name them by colour."""
OTHERS = 3
"""Objects of a scene beside the target."""


def confusable(target: str, rng: np.random.Generator) -> list[str]:
    """OTHERS objects beside the target; the first shares its shape or colour."""
    likeness = set(target.split())
    others = [name for name in OBJECTS if name != target]
    first = str(rng.choice([name for name in others if likeness & set(name.split())]))
    rest = rng.choice([name for name in others if name != first], size=OTHERS - 1, replace=False)
    return [first, *map(str, rest)]


def instruction(target: str, container: str, shape: str) -> str:
    """What the robot is told: put the target, as described, in or on the container of a shape, as described."""
    return f"put the {target} {'on' if shape in ('plate', 'tray') else 'in'} the {container}"


def task_name(told: str) -> str:
    """A task's name from its instruction, e.g. ``red_cube_on_blue_plate``."""
    return told.removeprefix("put the ").replace(" the ", " ").replace(" ", "_")
