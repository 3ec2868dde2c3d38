"""Scenes without a simulator, for the tests of the questions."""

from __future__ import annotations

import numpy as np

from thinkvla.tabletop.state import CameraState, GripperState, ObjectState, SceneState, Vector

UP = (0.0, 0.0, 1.0)
NAMES = ("red cube", "blue cylinder", "green ball", "yellow car", "white mug", "blue plate", "brown box")


def turned(yaw: float) -> Vector:
    """Rotation about the vertical, degrees."""
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def thing(name: str, position: tuple[float, float, float], yaw: float = 0.0) -> ObjectState:
    colour, shape = name.split()
    return ObjectState(
        name=name,
        shape=shape,
        colour=colour,
        position=np.array(position),
        rotation=turned(yaw),
        half_size=np.full(3, 0.02),
        has_front=shape in ("car", "mug"),
        movable=shape not in ("plate", "box"),
    )


def camera(
    name: str, position: Vector, target: Vector, fovy: float = 45.0, top: tuple[float, float, float] = UP
) -> CameraState:
    """A camera at a place, looking at another, with the picture's top towards ``top``."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, top)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(right, forward), -forward], axis=1)
    return CameraState(name, position, rotation, fovy, (96, 96))


def front_camera() -> CameraState:
    """Across the table, looking back at the robot: left in its view is the world's −y, forward is −x."""
    return camera("front", np.array([1.3, 0.0, 0.7]), np.array([0.45, 0.0, 0.0]))


def scene(*things: ObjectState, gripper: tuple[float, float, float] = (3.0, 0.0, 0.2)) -> SceneState:
    """Things before the front camera and a wrist camera that looks straight down; the gripper is far off."""
    hand = np.array(gripper)
    wrist = camera("wrist", hand + np.array([0.0, 0.0, 0.15]), hand, fovy=70.0, top=(1.0, 0.0, 0.0))
    return SceneState(things, GripperState(hand, np.eye(3), 0.05), (front_camera(), wrist))


def random_scene(seed: int) -> SceneState:
    """Some of the usual things scattered and sometimes lifted, under a random camera called ``front``."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(NAMES)[: rng.integers(0, len(NAMES) + 1)]
    things = [
        thing(
            str(name),
            (rng.uniform(0.3, 0.7), rng.uniform(-0.3, 0.3), rng.choice([0.02, rng.uniform(0.01, 0.3)])),
            rng.uniform(-180, 180),
        )
        for name in names
    ]
    hand = (rng.uniform(0.3, 0.7), rng.uniform(-0.3, 0.3), rng.uniform(0.05, 0.3))
    made = scene(*things, gripper=hand)
    place = np.array([rng.uniform(0.9, 1.5), rng.uniform(-0.4, 0.4), rng.uniform(0.2, 1.0)])
    view = camera("front", place, np.array([rng.uniform(0.3, 0.6), rng.uniform(-0.1, 0.1), 0.0]))
    return SceneState(made.objects, made.gripper, (view, made.cameras[1]))
