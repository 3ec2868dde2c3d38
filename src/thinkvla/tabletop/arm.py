"""The robot: a six-joint arm with a parallel gripper, made of primitives.

Base yaw, shoulder, elbow and a wrist of three crossing axes: with the hand pointing down, as it does here, the wrist
is far from a singularity. The hand's frame begins where the wrist axes cross: +x out of the palm, +y along the
fingers' travel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thinkvla.tabletop.engine import mujoco
from thinkvla.tabletop.shapes import STIFF

ARM_JOINTS = ("base_yaw", "shoulder", "elbow", "wrist_pitch", "wrist_roll", "wrist_yaw")
FINGER_JOINTS = ("left_finger", "right_finger")
GRIP_SITE = "grip"
"""Site between the finger tips: what a hand pose means here."""

FINGER_TRAVEL = 0.036
"""Metres each finger moves; the opening is twice its joint position."""

READY = (0.0, 0.35, 0.55, -0.9, 0.0, 0.0)
"""Joint angles, radians, from which inverse kinematics starts."""

_SHOULDER_HEIGHT = 0.28
_LINK = 0.38
_TOOL = 0.175
_PALM_DOWN = (np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0)
_SHELL = (0.93, 0.94, 0.95, 1.0)
_JOINT = (0.20, 0.22, 0.26, 1.0)
_TRIM = (0.36, 0.42, 0.50, 1.0)
_TIP = (0.05, 0.72, 0.72, 1.0)  # a colour of its own, so that the finger tips stand out at 96 pixels

_BOX = mujoco.mjtGeom.mjGEOM_BOX
_CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER
_CAPSULE = mujoco.mjtGeom.mjGEOM_CAPSULE

# joint, axis, range in radians, servo stiffness in N·m/rad, torque limit in N·m
_SERVOS = {
    "base_yaw": ((0, 0, 1), (-2.6, 2.6), 1500.0, 40.0),
    "shoulder": ((0, 1, 0), (-1.6, 1.9), 1500.0, 40.0),
    "elbow": ((0, 1, 0), (-1.6, 2.0), 1200.0, 40.0),
    "wrist_pitch": ((0, 1, 0), (-2.4, 1.6), 300.0, 12.0),
    "wrist_roll": ((1, 0, 0), (-1.2, 1.2), 300.0, 12.0),
    "wrist_yaw": ((0, 0, -1), (-2.8, 2.8), 150.0, 8.0),
}


def add_arm(spec: Any) -> Any:
    """Add the arm, its servos and its hand to a MuJoCo specification; returns the hand's body specification."""
    base = spec.worldbody.add_body(name="arm/base")
    _solid(base, _CYLINDER, (0.075, 0.02, 0), (0, 0, 0.02), _JOINT)
    _solid(base, _CYLINDER, (0.055, 0.085, 0), (0, 0, 0.125), _SHELL)

    yaw = _link(base, "base_yaw", (0, 0, 0.21))
    _solid(yaw, _CYLINDER, (0.058, 0.035, 0), (0, 0, 0.035), _JOINT)
    upper = _link(yaw, "shoulder", (0, 0, _SHOULDER_HEIGHT - 0.21))
    _solid(upper, _CYLINDER, (0.048, 0.062, 0), (0, 0, 0), _TRIM, across=True)
    _solid(upper, _CAPSULE, (0.036, _LINK / 2, 0), (0, 0, _LINK / 2), _SHELL)
    fore = _link(upper, "elbow", (0, 0, _LINK))
    _solid(fore, _CYLINDER, (0.044, 0.055, 0), (0, 0, 0), _TRIM, across=True)
    _solid(fore, _CAPSULE, (0.030, _LINK / 2, 0), (_LINK / 2, 0, 0), _SHELL, quat=(1, 0, 1, 0))
    pitch = _link(fore, "wrist_pitch", (_LINK, 0, 0))
    _solid(pitch, _CYLINDER, (0.036, 0.044, 0), (0, 0, 0), _TRIM, across=True)
    roll = _link(pitch, "wrist_roll", (0, 0, 0))
    _solid(roll, _CYLINDER, (0.028, 0.022, 0), (0, 0, -0.045), _SHELL)

    hand = _link(roll, "wrist_yaw", (0, 0, 0))
    hand.name = "gripper/hand"
    hand.quat = _PALM_DOWN
    hand.joints[0].axis = (1, 0, 0)
    _solid(hand, _CYLINDER, (0.033, 0.014, 0), (0.078, 0, 0), _JOINT, quat=(1, 0, 1, 0))
    _solid(hand, _BOX, (0.011, 0.055, 0.022), (0.100, 0, 0), _SHELL)
    hand.add_site(name=GRIP_SITE, pos=(_TOOL, 0, 0))
    _add_fingers(spec, hand)
    for name, (_, _, stiffness, torque) in _SERVOS.items():
        _servo(spec, name, stiffness, torque)
    return hand


def _link(parent: Any, joint: str, position: tuple[float, ...]) -> Any:
    axis, limits, _, _ = _SERVOS[joint]
    body = parent.add_body(name=f"arm/{joint}", pos=position, gravcomp=1.0)
    body.add_joint(name=joint, axis=axis, range=limits, limited=True, armature=0.02, damping=0.5)
    return body


def _solid(
    body: Any,
    geom: Any,
    size: tuple[float, ...],
    position: tuple[float, ...],
    rgba: tuple[float, ...],
    *,
    across: bool = False,
    quat: tuple[float, ...] = (1, 0, 0, 0),
) -> None:
    """Add a colliding primitive; ``across`` lays a cylinder along the body's y axis."""
    body.add_geom(
        type=geom,
        size=size,
        pos=position,
        quat=(1, 1, 0, 0) if across else quat,
        rgba=rgba,
        density=400.0,
        contype=1,
        conaffinity=2,
        condim=4,
        friction=(1.0, 0.005, 0.0005),
        solref=STIFF,
    )


def _add_fingers(spec: Any, hand: Any) -> None:
    for name, side in zip(FINGER_JOINTS, (1, -1), strict=True):
        finger = hand.add_body(name=f"gripper/{name}", pos=(0.135, 0, 0), gravcomp=1.0)
        finger.add_joint(
            name=name,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0, side, 0),
            range=(0, FINGER_TRAVEL),
            limited=True,
            armature=0.05,
            damping=2.0,
        )
        _solid(finger, _BOX, (0.027, 0.006, 0.009), (-0.002, side * 0.006, 0), _JOINT)
        _solid(finger, _BOX, (0.013, 0.0055, 0.011), (0.038, side * 0.0055, 0), _TIP)
        finger.geoms[-1].friction = (1.5, 0.01, 0.0005)
        _servo(spec, name, stiffness=500.0, limit=7.0)
    mirrored = spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=FINGER_JOINTS[0], name2=FINGER_JOINTS[1])
    mirrored.data[:2] = (0, 1)  # left = 0 + 1 · right


def _servo(spec: Any, joint: str, stiffness: float, limit: float) -> None:
    """Critically damped position servo on a joint, named after it."""
    actuator = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    actuator.set_to_position(kp=stiffness, dampratio=1.0)
    actuator.forcerange, actuator.forcelimited = (-limit, limit), True
