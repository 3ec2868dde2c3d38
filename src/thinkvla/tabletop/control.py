"""From a Cartesian action to joint servo targets.

The commanded hand pose moves by the action and stays near the hand; damped least squares turns it into joint angles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.tabletop.arm import ARM_JOINTS, FINGER_JOINTS, FINGER_TRAVEL, GRIP_SITE, READY
from thinkvla.tabletop.embodiment import GRIP, ROTATION, TRANSLATION
from thinkvla.tabletop.engine import mujoco

Vector = NDArray[np.float64]

WORKSPACE = np.array([[0.22, -0.34, 0.008], [0.68, 0.34, 0.42]])
"""Lowest and highest commanded hand position, metres."""
LARGEST_TILT = 0.5
"""Radians by which the palm may lean away from straight down."""
LARGEST_YAW = 1.7
"""Radians by which the hand may turn about the vertical, either way."""
# How far the command may run ahead of the hand: enough for the servos' lag, too little to wind up in a collision.
_LEASH_POSITION = 0.025
_LEASH_ANGLE = 0.25
_LEASH_FINGER = 0.012
_DAMPING = 0.01


def rotation_vector(rotation: Vector) -> Vector:
    """Axis times angle, radians, of a (3, 3) rotation matrix."""
    quat, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(vector, quat, 1.0)
    return vector


def rotation_matrix(vector: Vector) -> Vector:
    """(3, 3) rotation of a (3,) axis times angle in radians."""
    quat, matrix = np.array([1.0, 0, 0, 0]), np.zeros(9)
    mujoco.mju_quatIntegrate(quat, np.asarray(vector, dtype=np.float64), 1.0)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape((3, 3))


def palm_down(yaw: float) -> Vector:
    """(3, 3) hand rotation that points straight down, turned by ``yaw`` radians about the vertical."""
    sine, cosine = np.sin(yaw), np.cos(yaw)
    return np.array([[0.0, -sine, cosine], [0.0, cosine, sine], [-1.0, 0.0, 0.0]])


def hand_yaw(rotation: Vector) -> float:
    """Turn of the hand about the vertical, radians; zero when the fingers travel along the base's y axis."""
    return float(np.arctan2(rotation[1, 2], rotation[0, 2]))


class HandController:
    """Keeps the commanded hand pose and turns it into servo targets.

    Attributes:
        position: (3,) commanded point between the finger tips, metres.
        rotation: (3, 3) commanded hand rotation.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._scratch = mujoco.MjData(model)
        self._site = model.site(GRIP_SITE).id
        self._joints = [model.joint(name).qposadr[0] for name in ARM_JOINTS]
        self._dofs = [model.joint(name).dofadr[0] for name in ARM_JOINTS]
        self._fingers = [model.joint(name).qposadr[0] for name in FINGER_JOINTS]
        self._arm_controls = [model.actuator(name).id for name in ARM_JOINTS]
        self._finger_controls = [model.actuator(name).id for name in FINGER_JOINTS]
        self._low, self._high = model.jnt_range[[model.joint(name).id for name in ARM_JOINTS]].T
        self.position = np.zeros(3)
        self.rotation = np.eye(3)

    def start(self, data: Any, position: Vector, rotation: Vector) -> None:
        """Put the arm at a hand pose with open fingers, at rest."""
        self._command(np.asarray(position, dtype=np.float64), rotation)
        angles = self._solve(np.array(READY), iterations=100)
        data.qpos[self._joints] = data.ctrl[self._arm_controls] = angles
        data.qpos[self._fingers] = data.ctrl[self._finger_controls] = FINGER_TRAVEL

    def targets(self, data: Any, action: Vector) -> Vector:
        """Apply a (7,) action to the commanded pose; returns the servo targets (nu,) for the end of the step."""
        actual = data.site_xpos[self._site]
        actual_rotation = data.site_xmat[self._site].reshape(3, 3)
        position = actual + _shorten(self.position - actual, _LEASH_POSITION) + TRANSLATION * action[:3]
        ahead = _shorten(rotation_vector(self.rotation @ actual_rotation.T), _LEASH_ANGLE)
        self._command(position, rotation_matrix(ROTATION * action[3:6]) @ rotation_matrix(ahead) @ actual_rotation)

        targets: Vector = data.ctrl.copy()
        targets[self._arm_controls] = self._solve(data.ctrl[self._arm_controls], iterations=6)
        finger = float(np.mean(data.qpos[self._fingers]))
        wanted = np.clip(np.mean(data.ctrl[self._finger_controls]), finger - _LEASH_FINGER, finger + _LEASH_FINGER)
        targets[self._finger_controls] = np.clip(wanted - 0.5 * GRIP * action[6], 0.0, FINGER_TRAVEL)
        return targets

    def _command(self, position: Vector, rotation: Vector) -> None:
        """Store a pose, clamped to the workspace and to moderate tilt and yaw."""
        self.position = np.clip(position, *WORKSPACE)
        down, palm = np.array([0.0, 0.0, -1.0]), rotation[:, 0]
        tilt = np.arctan2(np.linalg.norm(np.cross(palm, down)), palm @ down)
        if tilt > LARGEST_TILT:
            axis = np.cross(palm, down)
            rotation = rotation_matrix(axis / np.linalg.norm(axis) * (tilt - LARGEST_TILT)) @ rotation
        yaw = hand_yaw(rotation)
        if abs(yaw) > LARGEST_YAW:
            rotation = rotation_matrix(np.array([0, 0, np.sign(yaw) * LARGEST_YAW - yaw])) @ rotation
        self.rotation = rotation

    def _solve(self, angles: Vector, iterations: int) -> Vector:
        """Joint angles (6,) whose hand pose is the commanded one, by damped least squares from ``angles``."""
        model, scratch = self._model, self._scratch
        jacobian = np.zeros((6, model.nv))
        angles = angles.copy()
        for _ in range(iterations):
            scratch.qpos[self._joints] = angles
            mujoco.mj_kinematics(model, scratch)
            mujoco.mj_comPos(model, scratch)
            rotation = scratch.site_xmat[self._site].reshape(3, 3)
            error = np.concatenate(
                [self.position - scratch.site_xpos[self._site], rotation_vector(self.rotation @ rotation.T)]
            )
            if np.abs(error).max() < 1e-5:
                break
            mujoco.mj_jacSite(model, scratch, jacobian[:3], jacobian[3:], self._site)
            arm = jacobian[:, self._dofs]
            step = arm.T @ np.linalg.solve(arm @ arm.T + _DAMPING**2 * np.eye(6), error)
            angles = np.clip(angles + _shorten(step, 0.5), self._low, self._high)
        return angles


def _shorten(vector: Vector, longest: float) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
