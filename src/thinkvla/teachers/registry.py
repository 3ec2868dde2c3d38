"""Geometry teachers by name, as ``data.teacher`` of a training configuration says it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from thinkvla.teachers import depth_anything, vggt
from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.teachers.simulator import SimulatorTeacher

TeacherName = Literal["simulator", "vggt_tiny", "vggt", "depth_anything"]
VGGT_TINY = Path(__file__).parent / "vggt_tiny"
"""The tiny VGGT that ships, for 96 px views of the embedded world; its README.md is its card."""
PUBLISHED: dict[str, tuple[Callable[[Path, tuple[int, int]], GeometryTeacher], str]] = {
    "vggt": (vggt.VggtTeacher, vggt.LICENCE),
    "depth_anything": (depth_anything.DepthAnythingTeacher, depth_anything.LICENCE),
}

log = logging.getLogger(__name__)


def build_teacher(name: TeacherName, weights: Path | None, view_size: tuple[int, int]) -> GeometryTeacher:
    """The teacher of that name; says which licences published weights have.

    Args:
        name: ``simulator`` reads true point maps; ``vggt_tiny``, ``vggt`` and ``depth_anything`` see images.
        weights: file or folder of a published network's weights.
        view_size: (height, width) of the images, pixels.

    Raises:
        ValueError: weights are missing, not wanted, or another network's.
    """
    if (weights is None) == (name in PUBLISHED):
        raise ValueError(
            f"data.teacher_weights is {weights}, but the teacher '{name}' "
            + ("needs them: give the file or folder" if weights is None else "has none: leave it out")
        )
    if weights is None:
        return vggt.VggtTeacher(VGGT_TINY, view_size) if name == "vggt_tiny" else SimulatorTeacher()
    teacher, licence = PUBLISHED[name]
    log.warning(licence, weights)
    return teacher(weights, view_size)
