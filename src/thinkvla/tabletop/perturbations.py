"""Seven ways in which a scene can differ from what a policy has seen, each in three growing strengths.

The axes are those of LIBERO-Plus (arXiv 2510.13626); what they do here, and how much, is our own. A perturbation turns
one scene into another with the same goal. Its draws are a function of task, seed and axis, and the level only scales
them: level 2 of an episode is level 1 taken further, so levels compare episode by episode.
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from thinkvla.perturbation import LEVELS, Perturbation
from thinkvla.tabletop.clutter import rearrange
from thinkvla.tabletop.control import rotation_matrix
from thinkvla.tabletop.rewording import reword
from thinkvla.tabletop.scene import LightSpec, RobotStart, SceneSpec, SensorSpec
from thinkvla.tabletop.shapes import COLOURS, RGB, Triple
from thinkvla.tabletop.tasks import Task

__all__ = ["AXES", "LEVELS", "Perturbation", "perturbed"]
Vector = NDArray[np.float64]


def perturbed(task: Task, perturbation: Perturbation | None) -> Task:
    """The task with all its scenes perturbed; the task itself for None."""
    if perturbation is None:
        return task
    return replace(task, sample=partial(_sample, task.sample, perturbation))


def _sample(
    sample: Callable[[np.random.Generator], SceneSpec], perturbation: Perturbation, rng: np.random.Generator
) -> SceneSpec:
    scene = sample(rng)
    own = np.random.default_rng([zlib.crc32(perturbation.axis.encode()), int(rng.integers(2**63))])
    return AXES[perturbation.axis](scene, own, perturbation.level)


def _camera(scene: SceneSpec, rng: np.random.Generator, level: int) -> SceneSpec:
    """Move the third-person camera around what it looks at, turn it and zoom out; the workspace stays in view."""
    round_it, up, away, roll = (_signed(rng) for _ in range(4))
    zoom, aim = _amount(rng), _amount(rng) * _direction(rng)
    target = np.asarray(scene.front.target)
    arm = np.asarray(scene.front.position) - target
    arm = _about_z(np.radians(12) * level * round_it) @ arm
    sideways = np.cross([0.0, 0.0, 1.0], arm)
    arm = rotation_matrix(sideways / np.linalg.norm(sideways) * np.radians(4) * level * up) @ arm
    arm *= 1 + 0.05 * level * away
    target = target + 0.01 * level * aim
    view = arm / np.linalg.norm(arm)
    top = rotation_matrix(view * np.radians(2.5) * level * roll) @ np.asarray(scene.front.up)
    front = replace(
        scene.front,
        position=_triple(target + arm),
        target=_triple(target),
        up=_triple(top),
        fovy=scene.front.fovy * (1 + 0.10 * level * zoom),
    )
    return replace(scene, front=front)


def _robot(scene: SceneSpec, rng: np.random.Generator, level: int) -> SceneSpec:
    """Start the hand elsewhere and turned; it stays inside the workspace and above the things."""
    away = _amount(rng) * _direction(rng) * (0.04, 0.06, 0.0)  # the workspace is wider than deep
    away[2] = rng.uniform(0.0, 0.02)
    turn = _signed(rng)
    position = np.asarray(scene.robot.position) + level * away
    return replace(scene, robot=RobotStart(_triple(position), scene.robot.yaw + 0.2 * level * turn))


def _light(scene: SceneSpec, rng: np.random.Generator, level: int) -> SceneSpec:
    """Turn the lights, make them stronger or weaker and coloured; add one stray light with each level above 1."""
    turn = _about_z(np.radians(40) * level * _signed(rng))
    strength = (1 - 0.18 * level) if rng.random() < 0.5 else (1 + 0.16 * level)
    tint = 1 - 0.16 * level * (1 - _hue(rng))
    strays = [
        LightSpec(_triple((*rng.uniform(-1, 1, 2), -0.6)), _colour(0.22 * _hue(rng))) for _ in range(max(LEVELS) - 1)
    ]
    lights = [
        LightSpec(_triple(turn @ np.asarray(light.direction)), _colour(strength * tint * np.asarray(light.diffuse)))
        for light in scene.lights
    ]
    return replace(
        scene, lights=(*lights, *strays[: level - 1]), ambient=float(np.clip(strength * scene.ambient, 0, 1))
    )


def _background(scene: SceneSpec, rng: np.random.Generator, level: int) -> SceneSpec:
    """Colour the table and what lies behind it; at level 3 the table is checkered too."""
    share = (0.35, 0.7, 1.0)[level - 1]
    table = _cloth(scene, rng)
    squares = _cloth(scene, rng)
    bottom, top = (_hue(rng) * rng.uniform(0.2, 1.0) for _ in range(2))
    return replace(
        scene,
        table=_mix(scene.table, table, share),
        checker=_colour(squares) if level == 3 else scene.checker,
        background=(_mix(scene.background[0], bottom, share), _mix(scene.background[1], top, share)),
    )


def _noise(scene: SceneSpec, rng: np.random.Generator, level: int) -> SceneSpec:
    """Make both cameras' sensors worse."""
    sensor = SensorSpec(
        noise=(0.02, 0.05, 0.10)[level - 1],
        blur=(0.003, 0.006, 0.012)[level - 1],
        exposure=(0.1, 0.2, 0.4)[level - 1],
        dead=(0.001, 0.004, 0.012)[level - 1],
        seed=int(rng.integers(2**31)),
    )
    return replace(scene, sensor=sensor)


def _language(scene: SceneSpec, rng: np.random.Generator, level: int) -> SceneSpec:
    """Say the same in other words."""
    return replace(scene, instruction=reword(scene.instruction, rng, level))


AXES: Mapping[str, Callable[[SceneSpec, np.random.Generator, int], SceneSpec]] = {
    "camera": _camera,
    "robot": _robot,
    "language": _language,
    "light": _light,
    "background": _background,
    "noise": _noise,
    "layout": rearrange,
}
"""What each axis does to a scene, given a random generator and the level."""


def _amount(rng: np.random.Generator) -> float:
    """At least three quarters of the whole, so that each level lies beyond the one before."""
    return float(rng.uniform(0.75, 1.0))


def _signed(rng: np.random.Generator) -> float:
    """An amount in either direction."""
    return _amount(rng) * float(rng.choice([-1, 1]))


def _direction(rng: np.random.Generator) -> Vector:
    """(3,) horizontal unit vector."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle), 0.0])


def _about_z(angle: float) -> Vector:
    return rotation_matrix(np.array([0.0, 0.0, angle]))


def _hue(rng: np.random.Generator) -> Vector:
    """(3,) RGB of a fully saturated colour."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), 1.0, 1.0))


def _cloth(scene: SceneSpec, rng: np.random.Generator) -> Vector:
    """(3,) RGB of a table top, unlike the scene's table and all things on it."""
    taken = [scene.table, *(COLOURS[thing.colour] for thing in scene.things)]
    while True:
        colour = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.9)))
        if all(np.linalg.norm(colour - other) > 0.35 for other in taken):
            return colour


def _mix(one: RGB, other: Vector, share: float) -> RGB:
    return _colour((1 - share) * np.asarray(one) + share * other)


def _colour(values: Vector) -> RGB:
    return _triple(np.clip(values, 0.0, 1.0))


def _triple(values: Vector | tuple[float, ...]) -> Triple:
    x, y, z = map(float, values)
    return x, y, z
