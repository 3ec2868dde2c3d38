"""Ground truth read from the simulator: the scene's state, contacts, and the 3D point behind each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.tabletop.arm import FINGER_JOINTS, GRIP_SITE
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.engine import mujoco
from thinkvla.tabletop.scene import SceneSpec
from thinkvla.tabletop.shapes import COLLISION_ONLY_GROUP
from thinkvla.tabletop.state import CameraState, GripperState, ObjectState, SceneState
from thinkvla.tabletop.tasks import Contacts

FARTHEST = 3.0
"""Metres along a ray at which a point map's point lies when the ray hits nothing."""


def read_state(scene: SceneSpec, model: Any, data: Any, image_size: tuple[int, int]) -> SceneState:
    """The scene's state at this moment."""
    objects = []
    for thing in scene.things:
        body, shape = data.body(thing.name), thing.kind
        objects.append(
            ObjectState(
                name=thing.name,
                shape=thing.shape,
                colour=thing.colour,
                position=body.xpos.copy(),
                rotation=body.xmat.reshape(3, 3).copy(),
                half_size=np.asarray(shape.half_size) * thing.size,
                has_front=shape.has_front,
                movable=shape.movable,
            )
        )
    site = data.site(GRIP_SITE)
    opening = float(sum(data.joint(name).qpos[0] for name in FINGER_JOINTS))
    gripper = GripperState(site.xpos.copy(), site.xmat.reshape(3, 3).copy(), opening)
    cameras = tuple(read_camera(model, data, name, image_size) for name in TABLETOP.cameras)
    return SceneState(tuple(objects), gripper, cameras)


def read_camera(model: Any, data: Any, name: str, size: tuple[int, int]) -> CameraState:
    """Where a camera is and how it projects, for images of ``size`` (height, width)."""
    camera = data.camera(name)
    fovy = float(model.camera(name).fovy[0])
    return CameraState(name, camera.xpos.copy(), camera.xmat.reshape(3, 3).copy(), fovy, size)


def read_contacts(scene: SceneSpec, model: Any, data: Any) -> Contacts:
    """What touches what; links of the arm are ``arm``, the hand and its fingers ``gripper``."""
    bodies = model.geom_bodyid[data.contact.geom]
    touching = data.contact.dist < 0
    pairs = {frozenset(_owner(model, body) for body in pair) for pair in bodies[touching]}
    speeds = {
        thing.name: float(np.linalg.norm(data.joint(model.body(thing.name).jntadr[0]).qvel[:3]))
        for thing in scene.things
        if thing.kind.movable
    }
    return Contacts(frozenset(pairs), speeds)


def _owner(model: Any, body: int) -> str:
    name: str = model.body(body).name
    return "table" if name == "world" else name.split("/")[0]


def cast_point_map(model: Any, data: Any, camera: CameraState, stride: int) -> NDArray[np.float32]:
    """The visible 3D point at the centre of every ``stride`` × ``stride`` block of pixels.

    Cast as rays rather than read from a depth buffer: exact, and independent of OpenGL.

    Returns:
        float32 (H // stride, W // stride, 3), metres, world frame; at most 3 m from the camera.

    Raises:
        ValueError: the stride does not divide the image.
    """
    rays, distance, _ = _cast(model, data, camera, stride)
    points = camera.position + rays * distance[..., None]
    return points.astype(np.float32)


def cast_names(model: Any, data: Any, camera: CameraState, stride: int) -> NDArray[np.str_]:
    """What is visible at the centre of every ``stride`` × ``stride`` block of pixels.

    Returns:
        str (H // stride, W // stride): a thing's name, ``table``, ``arm``, ``gripper``, or ``background``.

    Raises:
        ValueError: the stride does not divide the image.
    """
    _, _, geoms = _cast(model, data, camera, stride)
    owners = [_owner(model, body) for body in model.geom_bodyid]
    return np.array([*owners, "background"])[geoms]


def _cast(
    model: Any, data: Any, camera: CameraState, stride: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """Unit rays (h, w, 3), metres (h, w) to what they hit, at most FARTHEST, and the geom hit (h, w), else −1."""
    height, width = camera.size
    if stride < 1 or height % stride or width % stride:
        raise ValueError(f"point map stride: expected a divisor of the image size {camera.size}, got {stride}")
    rows, columns = np.mgrid[0 : height // stride, 0 : width // stride] + 0.5
    focal = 0.5 * height / np.tan(np.radians(camera.fovy) / 2)
    across, up = (columns * stride - width / 2) / focal, (height / 2 - rows * stride) / focal
    rays = np.stack([across, up, -np.ones_like(up)], axis=-1) @ camera.rotation.T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    count = rows.size
    distance, geoms = np.empty(count), np.empty(count, np.int32)
    visible = np.ones(6, np.uint8)
    visible[COLLISION_ONLY_GROUP] = 0
    mujoco.mj_multiRay(
        model, data, camera.position, rays.ravel(), visible, 1, -1, geoms, distance, None, count, FARTHEST
    )
    distance[geoms < 0] = FARTHEST
    return rays, distance.reshape(rows.shape), geoms.reshape(rows.shape)
