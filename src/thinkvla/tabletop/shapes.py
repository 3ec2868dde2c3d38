"""What stands on the table: every shape as a handful of MuJoCo primitives, in one colour and a few trims.

A shape's origin is the centre of its bounding box. A shape with a front faces its own +x axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkvla.tabletop.engine import mujoco

RGB = tuple[float, float, float]
Triple = tuple[float, float, float]

COLOURS: dict[str, RGB] = {
    "red": (0.86, 0.10, 0.11),
    "orange": (1.00, 0.50, 0.05),
    "yellow": (0.99, 0.85, 0.12),
    "green": (0.13, 0.60, 0.20),
    "blue": (0.10, 0.30, 0.86),
    "purple": (0.53, 0.19, 0.72),
    "brown": (0.42, 0.24, 0.12),
    "white": (0.96, 0.96, 0.95),
    "clear": (0.62, 0.80, 0.90),
}
"""Colour words of the instructions and their RGB values in [0, 1]."""

DARK: RGB = (0.10, 0.10, 0.12)
GLASS: RGB = (0.62, 0.80, 0.90)
LAMP: RGB = (1.00, 0.97, 0.75)

_BOX = mujoco.mjtGeom.mjGEOM_BOX
_CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER
_SPHERE = mujoco.mjtGeom.mjGEOM_SPHERE
_CAPSULE = mujoco.mjtGeom.mjGEOM_CAPSULE

DENSITY = 800.0
"""Kilograms per cubic metre of everything on the table: about that of wood."""
STIFF = (0.008, 1.0)
"""MuJoCo solref of contacts: the default lets fingers sink millimetres into things this light."""
COLLISION_ONLY_GROUP = 3
"""MuJoCo geom group of parts that collide but are not drawn."""


@dataclass(frozen=True)
class Part:
    """One primitive of a shape.

    Attributes:
        geom: MuJoCo geom type.
        size: half sizes as MuJoCo orders them for that type, metres.
        position: (3,) in the shape's frame, metres.
        euler: rotation about the shape's x, then y, then z axis, radians.
        colour: fixed RGB of a trim; None takes the object's colour.
        solid: whether it collides and has mass.
        visible: whether cameras see it.
    """

    geom: Any
    size: Triple
    position: Triple = (0.0, 0.0, 0.0)
    euler: Triple = (0.0, 0.0, 0.0)
    colour: RGB | None = None
    solid: bool = True
    visible: bool = True


@dataclass(frozen=True)
class Shape:
    """A kind of thing.

    Attributes:
        parts: its primitives.
        half_size: (3,) half extents of the bounding box, metres.
        movable: whether it can be picked up; containers and pedestals cannot.
        has_front: whether it visibly faces its own +x axis.
        grip: (3,) where fingers hold it, in its own frame, metres.
        grip_axes: its axes along which fingers may close; empty where any horizontal direction does.
        floor: containers only: height of the supporting surface above the underside, metres.
    """

    parts: tuple[Part, ...]
    half_size: Triple
    movable: bool = True
    has_front: bool = False
    grip: Triple = (0.0, 0.0, 0.0)
    grip_axes: tuple[int, ...] = ()
    floor: float = 0.0

    @property
    def radius(self) -> float:
        """Radius of the circle around its footprint, metres."""
        return float(np.hypot(*self.half_size[:2])) if self.grip_axes else max(self.half_size[:2])


def _car() -> Shape:
    """A toy car: low bonnet, lamps and windscreen in front; a hidden box carries it so that it does not roll."""
    wheels = tuple(
        Part(_CYLINDER, (0.009, 0.004, 0), (x, y, -0.012), (np.pi / 2, 0, 0), DARK, solid=False)
        for x in (-0.022, 0.022)
        for y in (-0.017, 0.017)
    )
    lamps = tuple(Part(_SPHERE, (0.005, 0, 0), (0.032, y, -0.003), (0, 0, 0), LAMP, False) for y in (-0.012, 0.012))
    return Shape(
        parts=(
            Part(_BOX, (0.036, 0.019, 0.0125), (0, 0, -0.0085), visible=False),
            Part(_BOX, (0.036, 0.018, 0.009), (0, 0, -0.005), solid=False),
            Part(_BOX, (0.019, 0.016, 0.0085), (-0.014, 0, 0.0125)),
            Part(_BOX, (0.004, 0.0145, 0.0085), (0.006, 0, 0.0115), (0, -0.45, 0), GLASS, solid=False),
            *wheels,
            *lamps,
        ),
        half_size=(0.037, 0.021, 0.021),
        has_front=True,
        grip=(-0.004, 0, 0),
        grip_axes=(1,),
    )


def _mug() -> Shape:
    """A mug whose handle is its front."""
    handle = (
        Part(_CAPSULE, (0.004, 0.007, 0), (0.018, 0, 0.012), (0, np.pi / 2, 0)),
        Part(_CAPSULE, (0.004, 0.012, 0), (0.026, 0, 0), (0, 0, 0)),
        Part(_CAPSULE, (0.004, 0.007, 0), (0.018, 0, -0.012), (0, np.pi / 2, 0)),
    )
    return Shape(
        parts=(
            Part(_CYLINDER, (0.020, 0.022, 0), (-0.010, 0, 0)),
            Part(_CYLINDER, (0.016, 0.0005, 0), (-0.010, 0, 0.0222), colour=DARK, solid=False),
            *handle,
        ),
        half_size=(0.030, 0.020, 0.022),
        has_front=True,
        grip=(-0.010, 0, 0),
        grip_axes=(1,),
    )


def _walls(half: tuple[float, float], height: float, thickness: float) -> Iterator[Part]:
    """Floor and four upright walls of an open box; ``half`` are its outer half extents."""
    (x, y), floor = half, 0.003
    yield Part(_BOX, (x, y, floor), (0, 0, floor - height / 2))
    for side in (-1, 1):
        yield Part(_BOX, (thickness, y, height / 2), (side * (x - thickness), 0, 0))
        yield Part(_BOX, (x - 2 * thickness, thickness, height / 2), (0, side * (y - thickness), 0))


def _ring(radius: float, half_height: float, z: float, lean: float, thickness: float, pieces: int) -> Iterator[Part]:
    """A round wall of flat pieces that leans outward by ``lean`` radians."""
    half_width = (radius + half_height * np.sin(lean)) * np.tan(np.pi / pieces)
    for angle in 2 * np.pi * np.arange(pieces) / pieces:
        centre = (radius * np.cos(angle), radius * np.sin(angle), z)
        yield Part(_BOX, (thickness, half_width, half_height), centre, (0, lean, angle))


def _open_box(half: tuple[float, float], height: float) -> Shape:
    parts = tuple(_walls(half, height, 0.0025))
    return Shape(parts, (*half, height / 2), movable=False, grip_axes=(0, 1), floor=0.006)


def pedestal(height: float) -> Shape:
    """A round block for things and containers to stand on, ``height`` metres high."""
    return Shape((Part(_CYLINDER, (0.046, height / 2, 0)),), (0.046, 0.046, height / 2), movable=False)


SHAPES: dict[str, Shape] = {
    "cube": Shape((Part(_BOX, (0.02, 0.02, 0.02)),), (0.02, 0.02, 0.02), grip_axes=(0, 1, 2)),
    "cylinder": Shape((Part(_CYLINDER, (0.02, 0.024, 0)),), (0.02, 0.02, 0.024)),
    "ball": Shape((Part(_SPHERE, (0.022, 0, 0)),), (0.022, 0.022, 0.022)),
    "car": _car(),
    "mug": _mug(),
    "plate": Shape(
        (Part(_CYLINDER, (0.062, 0.003, 0), (0, 0, -0.003)), *_ring(0.063, 0.005, 0.001, 0.9, 0.002, 24)),
        (0.068, 0.068, 0.006),
        movable=False,
        floor=0.006,
    ),
    "bowl": Shape(
        (Part(_CYLINDER, (0.042, 0.003, 0), (0, 0, -0.016)), *_ring(0.051, 0.020, 0.0, 0.5, 0.0025, 24)),
        (0.063, 0.063, 0.019),
        movable=False,
        floor=0.006,
    ),
    "tray": _open_box((0.072, 0.060), 0.018),
    "box": _open_box((0.064, 0.064), 0.042),
    "pedestal": pedestal(0.05),
}
"""Every shape by the word an instruction uses for it. Things to pick up are about 4 cm, containers about 13 cm wide."""


def add_shape(body: Any, shape: Shape, rgb: RGB, size: float, alpha: float) -> None:
    """Add the shape's primitives, scaled by ``size``, to a MuJoCo body specification."""
    for index, part in enumerate(shape.parts):
        geom = body.add_geom(
            name=f"{body.name}/{index}",
            type=part.geom,
            size=np.asarray(part.size) * size,
            pos=np.asarray(part.position) * size,
            rgba=(*(part.colour or rgb), alpha),
            group=0 if part.visible else COLLISION_ONLY_GROUP,
            density=DENSITY if part.solid else 0.0,
            solref=STIFF,
        )
        quat = np.zeros(4)
        mujoco.mju_euler2Quat(quat, np.asarray(part.euler), "XYZ")
        geom.quat = quat
        if not part.solid:
            geom.contype = geom.conaffinity = 0
            continue
        geom.contype, geom.conaffinity = 2, 3
        geom.condim, geom.friction = 6, (1.0, 0.005, 0.002)  # rolling friction, or a ball never comes to rest
