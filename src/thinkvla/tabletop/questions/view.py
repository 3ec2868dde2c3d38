"""What one camera sees, in the frame that 3D answers are told in.

View frame, as SpatialReasoner's: gravity-aligned, origin at the camera, +X left, +Y up, +Z forward (the
viewing direction laid into the horizontal plane), metres.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from thinkvla.tabletop.state import CameraState, ObjectState, SceneState, Vector

GRIPPER = "gripper"
UP = np.array([0.0, 0.0, 1.0])

# A centre counts as seen this far inside the picture (share of its size) and this far from the lens (metres).
EDGE = 0.04
NEAREST = 0.03
# Steeper views (less horizontal viewing direction than this) take forward from the top of the picture.
STEEPEST = 0.1
# An object lying on its side (its own up less than this along gravity) has no left to ask about.
UPRIGHT = 0.8


@dataclass(frozen=True)
class Entity:
    """A seen thing in the view frame.

    Attributes:
        label: its name.
        location: (3,) centre, metres.
        front: (3,) unit vector out of its front, or None when it has no visible front or lies on its side.
        left: (3,) unit vector to its own left; None exactly when ``front`` is.
    """

    label: str
    location: Vector
    front: Vector | None = None
    left: Vector | None = None

    def quoted(self) -> Entity:
        """The same thing with every number as the text quotes it: two decimals."""
        front = None if self.front is None else np.round(self.front, 2)
        left = None if self.left is None else np.round(self.left, 2)
        return replace(self, location=np.round(self.location, 2), front=front, left=left)


def view_axes(camera: CameraState) -> Vector:
    """(3, 3) whose rows are the view frame's left, up and forward in the world frame.

    A camera looking straight down (or up) has no horizontal viewing direction. Its forward is then where
    the top (or bottom) of the picture points, which for a camera without roll is the same direction. Left is where
    the picture's left is: a camera with left-handed axes shows a mirror image.
    """
    ahead = -camera.rotation[:, 2]
    horizontal = ahead - (ahead @ UP) * UP
    if np.linalg.norm(horizontal) < STEEPEST:
        top = -np.sign(ahead @ UP) * camera.rotation[:, 1]
        horizontal = top - (top @ UP) * UP
    forward = horizontal / np.linalg.norm(horizontal)
    handed = 1.0 if np.linalg.det(camera.rotation) > 0 else -1.0
    return np.stack([handed * np.cross(UP, forward), UP, forward])


def in_picture(camera: CameraState, point: Vector) -> Vector:
    """World point (3,) → (2,) column and row as shares of width and height; NaN behind the lens."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a point beside the lens has no depth to divide by
        column, row, depth = camera.project(point)
    if depth < NEAREST:
        return np.full(2, np.nan)
    height, width = camera.size
    return np.array([column / width, row / height])


def is_seen(camera: CameraState, point: Vector) -> bool:
    """Whether a world point (3,) is before the lens and clearly inside the picture; occlusion is ignored."""
    place = in_picture(camera, point)
    return bool(np.all((place >= EDGE) & (place <= 1 - EDGE)))


def may_show(camera: CameraState, thing: ObjectState) -> bool:
    """Whether any part of the object's bounding box could be in the picture; true when unsure."""
    signs = np.array(list(product((-1.0, 1.0), repeat=3)))
    corners = thing.position + (signs * thing.half_size) @ thing.rotation.T
    places = np.array([in_picture(camera, corner) for corner in corners])
    if np.isnan(places).all():
        return False
    # With corners on both sides of the lens the rest does not bound the outline.
    if np.isnan(places).any():
        return True
    return bool(np.all((places.max(axis=0) > 0) & (places.min(axis=0) < 1)))


def seen_entities(state: SceneState, camera: str) -> tuple[Entity, ...]:
    """Objects and the gripper whose centres the camera sees, but for those that share a name.

    Raises KeyError for an unknown camera.
    """
    view = state.camera(camera)
    axes = view_axes(view)
    names = Counter(o.name for o in state.objects)
    entities = [_entity(o, view, axes) for o in state.objects if names[o.name] == 1 and is_seen(view, o.position)]
    if is_seen(view, state.gripper.position):
        entities.append(Entity(GRIPPER, axes @ (state.gripper.position - view.position)))
    return tuple(entities)


def _entity(thing: ObjectState, camera: CameraState, axes: Vector) -> Entity:
    location = axes @ (thing.position - camera.position)
    if not thing.has_front or thing.rotation[2, 2] < UPRIGHT:
        return Entity(thing.name, location)
    return Entity(thing.name, location, front=axes @ thing.rotation[:, 0], left=axes @ thing.rotation[:, 1])
