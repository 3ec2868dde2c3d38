"""An action of the ``bridge`` embodiment, and the same motion as ManiSkill3 and the original SimplerEnv take it.

The policy gives Δx, Δy, Δz in metres and roll, pitch, yaw in radians along and about the axes of the robot's base, and
a gripper that is open above one half. SimplerEnv keeps a pose that the hand is to reach, and an action moves that
target from where it was, p, while the hand is at c: the rotation R turns it about the hand, p' = c + Δ + R (p − c).

ManiSkill3's controller of the same name differs in two ways: it turns the target about itself, p' = p + Δ, and it reads
the three rotation numbers as Euler angles (R = Rx Ry Rz) where the original reads a rotation vector. What it is sent
makes up for both, so that an action means what it means in the original.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

OPEN, CLOSED = 1.0, -1.0


def maniskill_action(action: NDArray[Any], target: Vector, hand: Vector) -> NDArray[np.float32]:
    """What ManiSkill3's controller is to be sent.

    Args:
        action: (7,) of the policy: metres, radians (roll, pitch, yaw), gripper in [0, 1].
        target: (3,) position that the controller aims at now, metres, in the frame of the robot's base.
        hand: (3,) position of the hand now, same frame.

    Returns:
        float32 (7,): change of the target, its rotation as Euler angles, gripper −1 closed or +1 open.
    """
    rotation = from_roll_pitch_yaw(action[3:6])
    moved = hand + action[:3] + rotation @ (target - hand)
    return np.array([*(moved - target), *to_euler_xyz(rotation), gripper_command(action[6])], np.float32)


def original_action(action: NDArray[Any]) -> NDArray[np.float32]:
    """float32 (7,) what the original SimplerEnv's controller is to be sent: rotation vector, gripper as the policy's.

    vla-eval's class of the benchmark sets the gripper to ±1 itself.
    """
    return np.array([*action[:3], *to_vector(from_roll_pitch_yaw(action[3:6])), action[6]], np.float32)


def gripper_command(gripper: float) -> float:
    """+1 to open, −1 to close; the policy's value is 1 open, 0 closed."""
    return OPEN if gripper > 0.5 else CLOSED


def from_roll_pitch_yaw(angles: NDArray[Any]) -> Matrix:
    """(3, 3) rotation by roll about x, then pitch about y, then yaw about z, all fixed axes; radians."""
    roll, pitch, yaw = (float(angle) for angle in angles)
    return turn(2, yaw) @ turn(1, pitch) @ turn(0, roll)


def turn(axis: int, angle: float) -> Matrix:
    """(3, 3) rotation about one axis (0 x, 1 y, 2 z); radians."""
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def to_euler_xyz(rotation: Matrix) -> Vector:
    """(3,) angles a, b, c with rotation = Rx(a) Ry(b) Rz(c), b within ±π/2; radians."""
    return np.array(
        [
            np.arctan2(-rotation[1, 2], rotation[2, 2]),
            np.arcsin(np.clip(rotation[0, 2], -1.0, 1.0)),
            np.arctan2(-rotation[0, 1], rotation[0, 0]),
        ]
    )


def to_roll_pitch_yaw(rotation: Matrix) -> Vector:
    """(3,) the inverse of :func:`from_roll_pitch_yaw`, pitch within ±π/2; radians."""
    return np.array(
        [
            np.arctan2(rotation[2, 1], rotation[2, 2]),
            np.arcsin(np.clip(-rotation[2, 0], -1.0, 1.0)),
            np.arctan2(rotation[1, 0], rotation[0, 0]),
        ]
    )


def to_vector(rotation: Matrix) -> Vector:
    """(3,) rotation vector: axis times angle, the angle within [0, π]; radians."""
    # Twice the sine of the angle, along the axis; it vanishes at 0 and at π.
    twist = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine, cosine = float(np.linalg.norm(twist)) / 2, (float(np.trace(rotation)) - 1) / 2
    angle = np.arctan2(sine, cosine)
    if sine > 1e-8:
        vector: Vector = twist / (2 * sine) * angle
    elif cosine > 0:
        vector = twist / 2
    else:  # half a turn: R = 2 a aᵀ − 1, so the column of the largest diagonal entry is along the axis
        column = (rotation + np.eye(3))[:, int(np.argmax(np.diag(rotation)))]
        vector = column / np.linalg.norm(column) * angle
    return vector


def from_quaternion(quaternion: NDArray[Any]) -> Matrix:
    """(3, 3) rotation of a quaternion (w, x, y, z) of any length but zero."""
    w, x, y, z = np.asarray(quaternion, np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
