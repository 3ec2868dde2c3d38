"""Another start of LIBERO's arm: the hand elsewhere, turned and tilted; everything else as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
STEPS = 100
DAMPING = 0.05
NEAR = 1e-3
"""Metres and radians by which the hand may miss its start."""
TRIES = 50


def start_elsewhere(
    model: Any, data: Any, joints: Sequence[int], hand: int, rng: np.random.Generator, level: int
) -> Vector:
    """Joint angles that put the hand elsewhere: a start that nothing touches and that no joint's range forbids.

    A level is worth up to 4 cm forwards or backwards or 6 cm sideways, 2 cm upwards, 0.2 rad about the vertical and
    0.08 rad of tilt; at least three quarters of each, but for the way up, are drawn.

    Args:
        model: MjModel.
        data: MjData at the plain start; it stays as it is.
        joints: numbers of the arm's hinges, from the base to the hand.
        hand: number of the site that moves.
        rng: makes the draws, which do not depend on the level unless a start has to be given up.
        level: 1, 2 or 3.

    Returns:
        float64 (joints,) in radians.

    Raises:
        ValueError: no start was found.
    """
    trial = mujoco.MjData(model)
    trial.qpos[:] = data.qpos
    mujoco.mj_forward(model, trial)
    touching = _touching(trial)
    position, rotation = trial.site_xpos[hand].copy(), trial.site_xmat[hand].reshape(3, 3).copy()
    for _ in range(TRIES):
        heading, tilting = rng.uniform(0, 2 * np.pi, 2)
        aside, tilt = rng.uniform(0.75, 1.0, 2)
        turn = rng.uniform(0.75, 1.0) * rng.choice([-1, 1])
        away = level * np.array([0.04 * aside * np.cos(heading), 0.06 * aside * np.sin(heading), rng.uniform(0, 0.02)])
        turned = _turn(np.array([0, 0, 0.2 * level * turn])) @ rotation
        tilted = _turn(0.08 * level * tilt * np.array([np.cos(tilting), np.sin(tilting), 0.0])) @ turned
        trial.qpos[:] = data.qpos
        if _reach(model, trial, joints, hand, position + away, tilted):
            mujoco.mj_forward(model, trial)
            if _touching(trial) <= touching:
                return np.array(trial.qpos[model.jnt_qposadr[list(joints)]])
    raise ValueError(
        f"perturbation 'robot', level {level}: no free start of the arm in {TRIES} draws; use another seed"
    )


def _reach(model: Any, data: Any, joints: Sequence[int], hand: int, position: Vector, rotation: Vector) -> bool:
    """Move the joints until the hand is where it should be (damped least squares); False when it does not get there."""
    places, columns = model.jnt_qposadr[list(joints)], model.jnt_dofadr[list(joints)]
    ranges = model.jnt_range[list(joints)]
    jacobian = np.zeros((6, model.nv))
    for _ in range(STEPS):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        missing = np.concatenate(
            [position - data.site_xpos[hand], _turned(rotation @ data.site_xmat[hand].reshape(3, 3).T)]
        )
        if np.abs(missing).max() < NEAR:
            return True
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], hand)
        own = jacobian[:, columns]
        step = own.T @ np.linalg.solve(own @ own.T + DAMPING**2 * np.eye(6), missing)
        data.qpos[places] = np.clip(data.qpos[places] + step, ranges[:, 0], ranges[:, 1])
    return False


def _touching(data: Any) -> set[tuple[int, int]]:
    """Pairs of geoms in contact."""
    return {(int(one), int(other)) for one, other in data.contact.geom[: data.ncon]}


def _turn(vector: Vector) -> Vector:
    """(3, 3) rotation of a rotation vector in radians."""
    quaternion, flat = np.empty(4), np.empty(9)
    angle = float(np.linalg.norm(vector))
    mujoco.mju_axisAngle2Quat(quaternion, vector / max(angle, 1e-12), angle)
    mujoco.mju_quat2Mat(flat, quaternion)
    return flat.reshape(3, 3)


def _turned(rotation: Vector) -> Vector:
    """(3,) rotation vector in radians of a rotation."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector
