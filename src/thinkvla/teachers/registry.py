"""Geometry teachers by name, as ``data.teacher`` of a training configuration says it."""

from __future__ import annotations

from collections.abc import Callable

from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.teachers.simulator import SimulatorTeacher

TEACHERS: dict[str, Callable[[], GeometryTeacher]] = {"simulator": SimulatorTeacher}
