"""Edits of a compiled MuJoCo model that change what is seen and nothing that moves: camera, lights, surfaces."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from thinkvla.contract import Image

Vector = NDArray[np.float64]
SHADED = 0.4
"""How much of its light a lamp keeps that casts shadows: such lights add up in a picture, others stop at full scale."""
SHARES = (0.35, 0.7, 1.0)
"""How much of a surface is new at each level."""


def move_camera(model: Any, camera: int, height: float, rng: np.random.Generator, level: int) -> None:
    """Move a fixed camera around what it looks at, turn it and zoom out.

    A level is worth up to 12° around the vertical, 4° up or down, 5 % nearer or farther, 2.5° of roll, 1 cm of aim and
    10 % of field of view; at least three quarters of each are drawn.

    Args:
        model: MjModel; ``cam_pos``, ``cam_quat`` and ``cam_fovy`` of the camera change.
        camera: its number; it hangs on the world.
        height: of the plane that it looks at, in metres.
        rng: makes the draws, which do not depend on the level.
        level: 1, 2 or 3.
    """
    around, up, away, roll = (_amount(rng) * float(rng.choice([-1, 1])) for _ in range(4))
    zoom, aim, heading = _amount(rng), _amount(rng), rng.uniform(0, 2 * np.pi)
    axes = _matrix(model.cam_quat[camera])  # columns: right, up, backwards
    eye = np.array(model.cam_pos[camera])
    target = eye - axes[:, 2] * (eye[2] - height) / axes[2, 2]
    turn = _rotation([0, 0, 1], np.radians(12) * level * around)
    arm, axes = turn @ (eye - target), turn @ axes
    lift = _rotation(axes[:, 0], np.radians(4) * level * up)
    arm, axes = lift @ arm, lift @ axes
    axes = _rotation(axes[:, 2], np.radians(2.5) * level * roll) @ axes
    target = target + 0.01 * level * aim * np.array([np.cos(heading), np.sin(heading), 0.0])
    model.cam_pos[camera] = target + arm * (1 + 0.05 * level * away)
    model.cam_quat[camera] = _quaternion(axes)
    model.cam_fovy[camera] *= 1 + 0.10 * level * zoom


def change_lights(model: Any, rng: np.random.Generator, level: int) -> None:
    """Turn the lights, make them stronger or weaker and coloured; at levels 2 and 3 they cast shadows.

    A level is worth up to 40° around the vertical, 18 % less or 12 % more strength, and 16 % of a random hue.

    Args:
        model: MjModel of a scene without shadows; its lights and the headlight change.
        rng: makes the draws, which do not depend on the level.
        level: 1, 2 or 3.
    """
    angle = np.radians(40) * level * _amount(rng) * float(rng.choice([-1, 1]))
    strength = (1 - 0.18 * level) if rng.random() < 0.5 else (1 + 0.12 * level)
    colour = strength * (1 - 0.16 * level * (1 - _hue(rng)))
    turn = _rotation([0, 0, 1], angle)
    for light in range(model.nlight):
        if model.light_bodyid[light] == 0:  # those on the robot turn with it
            model.light_pos[light] = turn @ model.light_pos[light]
            model.light_dir[light] = turn @ model.light_dir[light]
        if level > 1:
            model.light_castshadow[light] = True
        kept = SHADED if model.light_castshadow[light] else 1.0
        for kind in (model.light_ambient, model.light_diffuse, model.light_specular):
            kind[light] = np.clip(kept * colour * kind[light], 0, 1)
    headlight = model.vis.headlight
    for name in ("ambient", "diffuse", "specular"):
        setattr(headlight, name, np.clip(colour * np.asarray(getattr(headlight, name)), 0, 1))


def change_surfaces(
    model: Any, geoms: Iterable[int], swatches: Sequence[Path], rng: np.random.Generator, level: int
) -> list[int]:
    """Cover the given geoms' textures and colours with others: 35, 70 or 100 %.

    Args:
        model: MjModel; textures, and colours of materials and geoms without one, change.
        geoms: whose surfaces change.
        swatches: files of pictures of other surfaces; each texture gets one of them, tinted.
        rng: makes the draws, which do not depend on the level.
        level: 1, 2 or 3.

    Returns:
        The textures that changed, which a renderer that exists already must be given again.
    """
    share, textures, materials, bare = SHARES[level - 1], set[int](), set[int](), list[int]()
    for geom in geoms:
        if (material := int(model.geom_matid[geom])) < 0:
            bare.append(geom)
        elif (found := [int(texture) for texture in np.ravel(model.mat_texid[material]) if texture >= 0]) != []:
            textures.update(found)
        else:
            materials.add(material)
    for texture in sorted(textures):
        pixels = _pixels(model, texture)
        rows, columns = pixels.shape[:2]
        with PillowImage.open(swatches[int(rng.integers(len(swatches)))]) as swatch:
            tile = swatch.convert("RGB").resize((columns, min(rows, columns)))
        tint = rng.uniform(0.55, 1.0) * (0.5 + 0.5 * _hue(rng))
        cover = np.resize(np.asarray(tile) * tint, (rows, columns, 3))  # a cube's six sides stand below one another
        pixels[..., :3] = np.rint((1 - share) * pixels[..., :3] + share * cover)
    for colours, numbers in ((model.mat_rgba, sorted(materials)), (model.geom_rgba, bare)):
        for number in numbers:
            colours[number, :3] = (1 - share) * colours[number, :3] + share * _hue(rng) * rng.uniform(0.3, 1.0)
    return sorted(textures)


def _pixels(model: Any, texture: int) -> Image:
    """A texture's pixels, (rows, columns, channels) uint8: a view into the model."""
    rows, columns = int(model.tex_height[texture]), int(model.tex_width[texture])
    channels, first = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
    view: Image = model.tex_data[first : first + rows * columns * channels].reshape(rows, columns, channels)
    return view


def _amount(rng: np.random.Generator) -> float:
    """At least three quarters of the whole, so that each level lies beyond the one before."""
    return float(rng.uniform(0.75, 1.0))


def _hue(rng: np.random.Generator) -> Vector:
    """(3,) RGB of a fully saturated colour."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), 1.0, 1.0))


def _rotation(axis: Sequence[float] | Vector, angle: float) -> Vector:
    """(3, 3) rotation about an axis of length one, in radians (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def _matrix(quaternion: Vector) -> Vector:
    """(3, 3) rotation of a quaternion w, x, y, z."""
    import mujoco

    flat = np.empty(9)
    mujoco.mju_quat2Mat(flat, np.asarray(quaternion, np.float64))
    return flat.reshape(3, 3)


def _quaternion(matrix: Vector) -> Vector:
    """(4,) w, x, y, z of a rotation."""
    import mujoco

    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(matrix).ravel())
    return quaternion
