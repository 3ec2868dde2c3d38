"""Ground truth of one moment of the tabletop world, free of the simulator.

World frame: the robot base's. Metres; +x forward from the robot over the table, +y to the robot's left, +z up.
Questions, experts and tests read this; only ``world.py`` makes it from MuJoCo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectState:
    """One thing on the table.

    Attributes:
        name: unique in the scene, as an instruction would say it, e.g. ``red cube``.
        shape: e.g. ``cube``.
        colour: e.g. ``red``.
        position: (3,) centre, metres, world frame.
        rotation: (3, 3) columns are the object's axes in the world frame.
        half_size: (3,) half extents of its bounding box along its own axes, metres.
        has_front: whether it has a visible front, which then is its own +x axis (its left is +y).
        movable: False for containers and supports that the robot does not pick up.
    """

    name: str
    shape: str
    colour: str
    position: Vector
    rotation: Vector
    half_size: Vector
    has_front: bool
    movable: bool


@dataclass(frozen=True)
class CameraState:
    """A pinhole camera with square pixels and its principal point in the middle.

    Attributes:
        name: camera name.
        position: (3,) metres, world frame.
        rotation: (3, 3) columns are its axes in the world frame: +x right, +y up, −z forward (as MuJoCo's).
        fovy: vertical field of view, degrees.
        size: (height, width), pixels.
    """

    name: str
    position: Vector
    rotation: Vector
    fovy: float
    size: tuple[int, int]

    def project(self, points: Vector) -> Vector:
        """World points (..., 3) → (..., 3): column and row in pixels, and depth along the view axis in metres."""
        local = (np.asarray(points) - self.position) @ self.rotation
        depth = -local[..., 2]
        height, width = self.size
        focal = 0.5 * height / np.tan(np.radians(self.fovy) / 2)
        column = width / 2 + focal * local[..., 0] / depth
        row = height / 2 - focal * local[..., 1] / depth
        return np.stack([column, row, depth], axis=-1)


@dataclass(frozen=True)
class GripperState:
    """The robot's hand.

    Attributes:
        position: (3,) point between the finger tips, metres, world frame.
        rotation: (3, 3) columns are the hand's axes in the world frame: +x out of the palm, +y along the fingers'
            travel.
        opening: distance between the fingers, metres.
    """

    position: Vector
    rotation: Vector
    opening: float


@dataclass(frozen=True)
class SceneState:
    """Everything at one moment: objects, hand and cameras."""

    objects: tuple[ObjectState, ...]
    gripper: GripperState
    cameras: tuple[CameraState, ...]

    def object(self, name: str) -> ObjectState:
        """The object of that name; raises KeyError naming those that exist."""
        for candidate in self.objects:
            if candidate.name == name:
                return candidate
        raise KeyError(f"no object '{name}' in the scene; it has {[o.name for o in self.objects]}")

    def camera(self, name: str) -> CameraState:
        """The camera of that name; raises KeyError naming those that exist."""
        for candidate in self.cameras:
            if candidate.name == name:
                return candidate
        raise KeyError(f"no camera '{name}' in the scene; it has {[c.name for c in self.cameras]}")
