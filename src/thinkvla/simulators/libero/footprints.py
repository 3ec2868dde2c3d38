"""What things of a MuJoCo scene cover of the plane they stand on, as rectangles along its axes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np

from thinkvla.simulators.libero.problem import Rectangle

_CORNERS = np.array(list(itertools.product((-1, 1), repeat=3)))


def footprint(model: Any, data: Any, body: int) -> Rectangle:
    """What a thing covers, wherever its drawers, doors and knobs may be.

    Args:
        model: MjModel.
        data: MjData whose poses are up to date; it stays as it is.
        body: the thing's root body.

    Returns:
        Lowest x and y, highest x and y of its collision geometry in the world, in metres.
    """
    bodies = _subtree(model, body)
    moving = [
        joint
        for joint in range(model.njnt)
        if model.jnt_bodyid[joint] in bodies and model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE
    ]
    geoms = [
        geom
        for geom in range(model.ngeom)
        if model.geom_bodyid[geom] in bodies and (model.geom_contype[geom] or model.geom_conaffinity[geom])
    ]
    found = [_bounds(model, data, geoms)]
    if moving:
        trial = mujoco.MjData(model)
        for joint in moving:
            low, high = (float(end) for end in model.jnt_range[joint])
            for place in (low, (low + high) / 2, high):
                trial.qpos[:] = data.qpos
                trial.qpos[model.jnt_qposadr[joint]] = place
                mujoco.mj_kinematics(model, trial)
                found.append(_bounds(model, trial, geoms))
    return around(found)


def around(rectangles: Iterable[Rectangle]) -> Rectangle:
    """The smallest rectangle around others."""
    sides = np.array(list(rectangles))
    x_low, y_low = sides[:, :2].min(axis=0)
    x_high, y_high = sides[:, 2:].max(axis=0)
    return float(x_low), float(y_low), float(x_high), float(y_high)


def moved(rectangle: Rectangle, x: float, y: float) -> Rectangle:
    """A rectangle elsewhere."""
    return rectangle[0] + x, rectangle[1] + y, rectangle[2] + x, rectangle[3] + y


def gap(one: Rectangle, other: Rectangle) -> float:
    """Metres that a straight line along x or y leaves free between two rectangles; negative when they overlap."""
    return max(one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3])


def _subtree(model: Any, root: int) -> set[int]:
    bodies = {root}
    for body in range(root + 1, model.nbody):  # parents come before children
        if int(model.body_parentid[body]) in bodies:
            bodies.add(body)
    return bodies


def _bounds(model: Any, data: Any, geoms: Iterable[int]) -> Rectangle:
    points = [
        data.geom_xpos[geom]
        + (model.geom_aabb[geom, :3] + _CORNERS * model.geom_aabb[geom, 3:]) @ data.geom_xmat[geom].reshape(3, 3).T
        for geom in geoms
    ]
    plane = np.concatenate(points)[:, :2]
    x_low, y_low = plane.min(axis=0)
    x_high, y_high = plane.max(axis=0)
    return float(x_low), float(y_low), float(x_high), float(y_high)
