"""LIBERO-Plus's tasks by their names: seven dimensions, what a name says, and samples that are always the same."""

from __future__ import annotations

import difflib
import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
DIMENSIONS = {
    "camera": "Camera Viewpoints",
    "robot": "Robot Initial States",
    "language": "Language Instructions",
    "light": "Light Conditions",
    "background": "Background Textures",
    "noise": "Sensor Noise",
    "layout": "Objects Layout",
}
"""Our word for a dimension → the benchmark's, in ``task_classification.json``."""


def check_dimension(dimension: str) -> None:
    """Raise ValueError for an unknown dimension, with the nearest name."""
    if dimension not in DIMENSIONS:
        near = difflib.get_close_matches(dimension, DIMENSIONS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(DIMENSIONS)}"
        raise ValueError(f"LIBERO-Plus has no dimension '{dimension}'; {hint}")


def plain_task(name: str, plain: Iterable[str]) -> str:
    """The task of LIBERO that a variant is of.

    Args:
        name: of the variant, e.g. ``put_the_bowl_on_the_plate_view_0_0_100_2_4_initstate_0``.
        plain: names of LIBERO's own tasks.

    Raises:
        ValueError: it is a variant of none of them.
    """
    found = [task for task in plain if name == task or name.startswith(f"{task}_")]
    if not found:
        raise ValueError(f"LIBERO-Plus's task '{name}' is a variant of no task of LIBERO that is here")
    return max(found, key=len)


def instruction_of(task: str) -> str:
    """What LIBERO asks in one of its own tasks: its name in words, without the scene."""
    return re.sub(r"^[A-Z_]+SCENE\d+_", "", task).replace("_", " ")


def choose(names: Sequence[str], dimension: str, number: int | None) -> tuple[str, ...]:
    """``number`` names, the same each time, in the order in which they came; all for None.

    A larger sample holds every smaller one.

    Raises:
        ValueError: there are not so many.
    """
    if number is None:
        return tuple(names)
    if not 1 <= number <= len(names):
        raise ValueError(f"LIBERO-Plus has {len(names)} tasks of dimension '{dimension}'; a sample of {number} is none")
    order = np.random.default_rng(zlib.crc32(dimension.encode())).permutation(sorted(names))
    chosen = set(order[:number].tolist())
    return tuple(name for name in names if name in chosen)
