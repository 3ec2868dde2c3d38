"""Increments to pose targets: independent references for rotations, and every limit."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thinkvla.robot.rotations import from_euler, from_vector, to_quaternion, to_vector
from thinkvla.robot.targets import Pose, PoseTargets, Workspace
from thinkvla.tabletop.embodiment import TABLETOP

SPACE = Workspace((0.2, -0.3, 0.0), (0.6, 0.3, 0.4))
HOME = Pose(np.array([0.4, 0.0, 0.2]), np.diag([1.0, -1.0, -1.0]))
VECTORS = arrays(np.float64, 3, elements=st.floats(-1.7, 1.7))


def action(*values: float) -> np.ndarray:
    return np.array([*values, *[0.0] * (7 - len(values))], np.float32)


@settings(deadline=None, max_examples=40)
@given(VECTORS)
def test_rotations_agree_with_mujoco(vector: np.ndarray) -> None:
    quaternion, matrix = np.zeros(4), np.zeros(9)
    angle = float(np.linalg.norm(vector))
    mujoco.mju_axisAngle2Quat(quaternion, vector / angle if angle > 0 else np.array([1.0, 0, 0]), angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    ours = from_vector(vector)
    np.testing.assert_allclose(ours, matrix.reshape(3, 3), atol=1e-12)
    np.testing.assert_allclose(abs(to_quaternion(ours) @ quaternion), 1, atol=1e-12)
    np.testing.assert_allclose(from_vector(to_vector(ours)), ours, atol=1e-9)
    if angle < 3.1:
        np.testing.assert_allclose(to_vector(ours), vector, atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(VECTORS)
def test_euler_angles_are_turns_about_fixed_axes(angles: np.ndarray) -> None:
    quaternion, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_euler2Quat(quaternion, angles, "XYZ")
    mujoco.mju_quat2Mat(matrix, quaternion)
    np.testing.assert_allclose(from_euler(angles), matrix.reshape(3, 3), atol=1e-12)


def test_increments_add_to_the_command_not_to_the_lagging_hand() -> None:
    targets = PoseTargets(TABLETOP, SPACE)
    first = targets.next(HOME, action(0.4, 0, 0, 0, 0, 0.4))
    np.testing.assert_allclose(first.position, [0.42, 0, 0.2])
    np.testing.assert_allclose(first.rotation, from_vector([0, 0, 0.1]) @ HOME.rotation, atol=1e-12)
    again = targets.next(HOME, action(0.4))
    np.testing.assert_allclose(again.position, first.position, err_msg="nothing changes until it is sent")
    targets.commit(HOME, first)
    np.testing.assert_allclose(targets.next(HOME, action(0.4)).position, [0.44, 0, 0.2])


def test_the_command_does_not_run_away_from_a_held_hand() -> None:
    targets = PoseTargets(TABLETOP, SPACE)
    for _ in range(10):
        target = targets.next(HOME, action(1, 0, 0, 1))
        targets.commit(HOME, target)
    assert target.position[0] == pytest.approx(0.4 + SPACE.lead_m)
    assert np.linalg.norm(to_vector(target.rotation @ HOME.rotation.T)) == pytest.approx(SPACE.lead_rad)


def test_steps_box_and_turn_are_limited() -> None:
    targets = PoseTargets(TABLETOP, replace(SPACE, step_m=0.01, step_rad=0.05))
    target = targets.next(HOME, action(1, 1, 1, 1, 1, 1))
    assert np.linalg.norm(target.position - HOME.position) == pytest.approx(0.01)
    assert np.linalg.norm(to_vector(target.rotation @ HOME.rotation.T)) == pytest.approx(0.05)
    targets = PoseTargets(TABLETOP, SPACE)
    pose = HOME
    for _ in range(20):  # a hand that follows at once
        target = targets.next(pose, action(1, 1, -1, 0, 0, 1))
        targets.commit(pose, target)
        pose = target
    np.testing.assert_allclose(pose.position, [0.6, 0.3, 0.0])
    np.testing.assert_allclose(to_vector(pose.rotation @ HOME.rotation.T), [0, 0, SPACE.turn_rad], atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(arrays(np.float32, 7, elements=st.floats(-1, 1, width=32)), VECTORS)
def test_no_action_leaves_the_workspace(values: np.ndarray, turned: np.ndarray) -> None:
    targets = PoseTargets(TABLETOP, SPACE)
    target = targets.next(Pose(np.array([0.59, 0.29, 0.01]), from_vector(turned)), values)
    assert (target.position >= SPACE.low).all()
    assert (target.position <= SPACE.high).all()
    np.testing.assert_allclose(target.rotation @ target.rotation.T, np.eye(3), atol=1e-9)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"the hand is at \[0.9, 0.0, 0.2\] m, outside the workspace"):
        PoseTargets(TABLETOP, SPACE).next(Pose(np.array([0.9, 0, 0.2]), np.eye(3)), action())
    with pytest.raises(
        ValueError, match=r"action_units\[3\] is '5 degrees'; pose targets need increments as '0.05 rad'"
    ):
        PoseTargets(replace(TABLETOP, action_units=("0.1 m",) * 3 + ("5 degrees",) * 4), SPACE)
    with pytest.raises(ValueError, match="rotation is 'quaternion'"):
        PoseTargets(replace(TABLETOP, rotation="quaternion"), SPACE)
    with pytest.raises(ValueError, match=r"must lie below high"):
        Workspace((0, 0, 0), (1, 0, 1))
    with pytest.raises(ValueError, match=r"workspace\.lead_m is 0; it must be above 0"):
        replace(SPACE, lead_m=0)
    with pytest.raises(ValueError, match=r"robot\.json: workspace has keys"):
        Workspace.from_dict({"low": [0, 0, 0], "hihg": [1, 1, 1]}, "robot.json")
