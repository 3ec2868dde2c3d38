"""The action adapter against hand-computed cases and an independent float64 reference (quaternions)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thinkvla.simulators.simpler.actions import (
    from_quaternion,
    from_roll_pitch_yaw,
    maniskill_action,
    original_action,
    to_roll_pitch_yaw,
    to_vector,
    turn,
)

HERE = np.array([0.3, 0.0, 0.1])
Vector = NDArray[np.float64]

angle = st.floats(-3.1, 3.1)
small = st.floats(-1.5, 1.5)
length = st.floats(-0.5, 0.5)


def product(first: Vector, second: Vector) -> Vector:
    """Of quaternions (w, x, y, z)."""
    w, v, u, r = first[0], first[1:], second[0], second[1:]
    return np.array([w * u - v @ r, *(w * r + u * v + np.cross(v, r))])


def about(axis: Vector, angle: float) -> Vector:
    return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * np.asarray(axis, np.float64))])


def rotated(quaternion: Vector, vector: Vector) -> Vector:
    inverse = quaternion * [1, -1, -1, -1]
    return product(product(quaternion, np.array([0.0, *vector])), inverse)[1:]


def reference(roll: float, pitch: float, yaw: float) -> Vector:
    """Quaternion of roll, pitch, yaw about fixed axes: the last turn stands first."""
    x, y, z = np.eye(3)
    return product(product(about(z, yaw), about(y, pitch)), about(x, roll))


def action(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_no_motion_keeps_the_target() -> None:
    sent = maniskill_action(action(0, 0, 0, 0, 0, 0, 1), HERE + 0.01, HERE)
    np.testing.assert_allclose(sent, [0, 0, 0, 0, 0, 0, 1], atol=1e-7)


def test_translation_is_metres_along_the_base() -> None:
    sent = maniskill_action(action(0.02, -0.01, 0.03, 0, 0, 0, 0), HERE, HERE)
    np.testing.assert_allclose(sent, [0.02, -0.01, 0.03, 0, 0, 0, -1], atol=1e-7)


def test_rotation_turns_the_target_about_the_hand() -> None:
    # A quarter turn about z of a target 2 cm in front of the hand: it comes to stand 2 cm to its left.
    sent = maniskill_action(action(0, 0, 0, 0, 0, np.pi / 2, 0), HERE + np.array([0.02, 0, 0]), HERE)
    np.testing.assert_allclose(sent, [-0.02, 0.02, 0, 0, 0, np.pi / 2, -1], atol=1e-6)


def test_target_of_original_by_hand() -> None:
    # p' = c + Δ + R (p − c) with R half a turn about x: (0.3, 0.01, 0.12) about (0.3, 0, 0.1) is (0.3, −0.01, 0.08).
    target = np.array([0.3, 0.01, 0.12])
    sent = maniskill_action(action(0.05, 0, 0, np.pi, 0, 0, 1), target, HERE)
    np.testing.assert_allclose(target + sent[:3], [0.35, -0.01, 0.08], atol=1e-6)


@pytest.mark.parametrize(("given", "command"), [(0.0, -1), (0.5, -1), (0.51, 1), (1.0, 1)])
def test_gripper_is_open_above_one_half(given: float, command: float) -> None:
    assert maniskill_action(action(0, 0, 0, 0, 0, 0, given), HERE, HERE)[6] == command


@given(roll=angle, pitch=angle, yaw=angle, shift=st.tuples(length, length, length))
def test_maniskill_is_sent_the_same_motion(
    roll: float, pitch: float, yaw: float, shift: tuple[float, float, float]
) -> None:
    """ManiSkill3's controller turns the target by Rx(a) Ry(b) Rz(c) and moves it by the first three numbers."""
    target = HERE + np.array([0.02, -0.03, 0.01])
    wanted = reference(*(float(np.float32(value)) for value in (roll, pitch, yaw)))
    sent = maniskill_action(action(*shift, roll, pitch, yaw, 1.0), target, HERE).astype(np.float64)
    x, y, z = np.eye(3)
    done = product(product(about(x, sent[3]), about(y, sent[4])), about(z, sent[5]))
    assert abs(done @ wanted) == pytest.approx(1.0, abs=1e-6)  # q and −q are one rotation
    place = HERE + np.asarray(shift, np.float32) + rotated(wanted, target - HERE)
    np.testing.assert_allclose(target + sent[:3], place, atol=1e-6)


@given(roll=angle, pitch=angle, yaw=angle)
def test_original_is_sent_a_rotation_vector(roll: float, pitch: float, yaw: float) -> None:
    sent = original_action(action(0.1, 0.2, 0.3, roll, pitch, yaw, 0.25)).astype(np.float64)
    np.testing.assert_allclose(sent[[0, 1, 2, 6]], [0.1, 0.2, 0.3, 0.25], atol=1e-7)
    size = float(np.linalg.norm(sent[3:6]))
    assert size <= np.pi + 1e-6
    turned = about(sent[3:6] / size, size) if size else np.array([1.0, 0, 0, 0])
    wanted = reference(*(float(np.float32(value)) for value in (roll, pitch, yaw)))
    assert abs(turned @ wanted) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [0.0, 1e-10, 0.3, -2.0, np.pi])
def test_rotation_vector_about_an_axis(axis: int, size: float) -> None:
    vector = to_vector(turn(axis, size))
    expected = np.zeros(3)
    expected[axis] = size
    if size == np.pi:  # either sign is half a turn
        vector, expected = abs(vector), abs(expected)
    np.testing.assert_allclose(vector, expected, atol=1e-9)


@given(roll=angle, pitch=small, yaw=angle)
def test_angles_come_back(roll: float, pitch: float, yaw: float) -> None:
    np.testing.assert_allclose(
        to_roll_pitch_yaw(from_roll_pitch_yaw(np.array([roll, pitch, yaw]))), [roll, pitch, yaw], atol=1e-8
    )


@given(roll=angle, pitch=angle, yaw=angle, scale=st.floats(0.1, 10.0))
def test_quaternions_of_any_length_are_rotations(roll: float, pitch: float, yaw: float, scale: float) -> None:
    matrix = from_quaternion(reference(roll, pitch, yaw) * scale)
    np.testing.assert_allclose(matrix, from_roll_pitch_yaw(np.array([roll, pitch, yaw])), atol=1e-12)
