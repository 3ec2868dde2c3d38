"""What perturbations are called in every benchmark: seven axes, three levels.

The axes are those of LIBERO-Plus (arXiv 2510.13626). What they do to a scene, and how much, is our own; each simulator
has its own way of doing it.
"""

from __future__ import annotations

import difflib
import zlib
from dataclasses import dataclass

import numpy as np

AXES = ("camera", "robot", "language", "light", "background", "noise", "layout")
LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class Perturbation:
    """One axis at one level.

    Attributes:
        axis: one of ``AXES``.
        level: 1, 2 or 3.

    Raises ValueError for an unknown axis, with the nearest name, or an unknown level.
    """

    axis: str
    level: int

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            near = difflib.get_close_matches(self.axis, AXES, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ValueError(f"unknown perturbation '{self.axis}': {hint}expected one of {list(AXES)}")
        if self.level not in LEVELS:
            raise ValueError(f"perturbation '{self.axis}': level is {self.level}; expected one of {list(LEVELS)}")

    def draws(self, task: str, *numbers: int) -> np.random.Generator:
        """Where the random numbers of a task's perturbation come from: the level has no part in it.

        Args:
            task: its name.
            numbers: a seed, and an episode's number where each episode draws its own.
        """
        names = (zlib.crc32(name.encode()) for name in (self.axis, task))
        return np.random.default_rng([*names, *numbers])

    @staticmethod
    def of(axis: str | None, level: int) -> Perturbation | None:
        """What the options ``perturbation`` and ``level`` mean; None for plain scenes, which are level 0.

        Raises:
            ValueError: an unknown axis or level, or a level without an axis.
        """
        if axis is not None:
            return Perturbation(axis, level)
        if level != 0:
            raise ValueError(f"level is {level} but no perturbation is given; name an axis, e.g. 'camera'")
        return None
