"""Geometry teachers by name, as ``data.teacher`` of a training configuration says it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.teachers.simulator import SimulatorTeacher
from thinkvla.teachers.vggt import VggtTeacher

TeacherName = Literal["simulator", "vggt"]


def build_teacher(name: TeacherName, weights: Path | None, view_size: tuple[int, int]) -> GeometryTeacher:
    """The teacher of that name.

    Args:
        name: ``simulator`` reads true point maps, ``vggt`` sees images.
        weights: file or folder of a learned teacher's weights.
        view_size: (height, width) of the images, pixels.

    Raises:
        ValueError: weights are missing, not wanted, or another network's.
    """
    if (weights is None) == (name == "vggt"):
        raise ValueError(
            f"data.teacher_weights is {weights}, but the teacher '{name}' "
            + ("needs them: give the file or folder" if weights is None else "has none: leave it out")
        )
    return VggtTeacher(weights, view_size) if weights is not None else SimulatorTeacher()
