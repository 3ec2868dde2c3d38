"""The expert against a stand-in for the simulator: a hand that goes where it is sent, an object that sticks to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thinkvla.contract import ContractError, Observation
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.simulators.simpler.actions import from_quaternion, maniskill_action
from thinkvla.simulators.simpler.embodiment import embodiment
from thinkvla.simulators.simpler.expert import HANDLING, Expert
from thinkvla.simulators.simpler.expert_policy import ExpertPolicy
from thinkvla.simulators.simpler.state import Pose, SceneState
from thinkvla.simulators.simpler.tasks import TASKS, choose_tasks

DOWN = np.array([0.70711, 0.0, 0.70711, 0.0])  # the hand's x points down


def start(task: str, yaw: float) -> SceneState:
    how = HANDLING[task]
    source = np.array([0.35, 0.10, how.floor + 0.016])
    turned = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    goal = Pose(np.array([0.38, -0.05, how.floor]), np.array([1.0, 0, 0, 0]))
    hand = Pose(np.array([0.29, 0.0, 0.135]), DOWN)
    return SceneState(hand, hand, Pose(source, turned), goal, opening=0.074, touching=False)


def moved(state: SceneState, task: str) -> SceneState:
    """One step of the stand-in: the hand covers six tenths of the way to its target, as the arm's drives do."""
    action = Expert(task).act(state)
    embodiment_ = embodiment()
    assert (np.asarray(embodiment_.action_low) <= action).all()
    assert (action <= np.asarray(embodiment_.action_high)).all()
    sent = maniskill_action(action, state.target.position, state.hand.position).astype(np.float64)
    target = state.target.position + sent[:3]
    hand = state.hand.position + 0.6 * (target - state.hand.position)
    turned = _turned(state.target.quaternion, sent[3:6])
    grip = state.source.position + from_quaternion(state.source.quaternion)[:, 0] * HANDLING[task].grip
    wanted = 0.053 if np.linalg.norm(grip - state.hand.position) < 0.02 and sent[6] < 0 else 0.028
    opening = state.opening + 0.7 * ((0.074 if sent[6] > 0 else wanted) - state.opening)
    held = wanted == 0.053 and opening < 0.062
    source = state.source.position + (hand - state.hand.position if held else 0.0)
    if not held:
        source = np.array([*source[:2], HANDLING[task].floor + 0.016])
    return SceneState(
        Pose(hand, turned),
        Pose(target, turned),
        replace(state.source, position=source),
        state.goal,
        opening=opening,
        touching=held,
    )


def _turned(quaternion: np.ndarray, euler: np.ndarray) -> np.ndarray:
    """The quaternion after a turn by Rx Ry Rz, all small parts multiplied in turn."""
    for axis in (2, 1, 0):
        w, v = np.cos(euler[axis] / 2), np.sin(euler[axis] / 2) * np.eye(3)[axis]
        u, r = quaternion[0], quaternion[1:]
        quaternion = np.array([w * u - np.dot(v, r), *(w * r + u * v + np.cross(v, r))])
    return quaternion


@pytest.mark.parametrize("yaw", [0.0, np.pi / 4, -np.pi / 2, np.pi])
@pytest.mark.parametrize("task", list(TASKS))
def test_object_ends_on_its_goal(task: str, yaw: float) -> None:
    state = start(task, yaw)
    for _ in range(60):
        state = moved(state, task)
    aside = np.linalg.norm((state.source.position - state.goal.position)[:2])
    assert aside < HANDLING[task].spread + 0.005
    assert not state.touching
    assert state.hand.position[2] > HANDLING[task].carry - 0.01  # it has withdrawn


def test_fingers_close_across_the_longest_axis() -> None:
    state = start("carrot", np.pi / 4)
    while not state.touching:
        state = moved(state, "carrot")
    across = from_quaternion(state.hand.quaternion)[:, 1]
    longest = from_quaternion(state.source.quaternion)[:, 0]
    assert abs(across @ longest) < 0.15


def test_state_survives_its_vector() -> None:
    state = replace(start("stack", 0.3), touching=True)
    back = SceneState.from_vector(state.to_vector())
    assert np.array_equal(back.to_vector(), state.to_vector())
    assert back.touching
    with pytest.raises(ContractError, match=r"expected shape \(30,\), got \(29,\)"):
        SceneState.from_vector(state.to_vector()[1:])


def test_expert_acts_on_the_truth_alone() -> None:
    policy, state = ExpertPolicy(), start("spoon", 0.0)
    seen = PrivilegedObservation({}, "go", {"task": "spoon", "state": state.to_vector()})
    (chunk,) = policy.act([seen])
    assert np.array_equal(chunk.actions, Expert("spoon").act(state)[None])
    chunk.check(policy.embodiment)
    with pytest.raises(ContractError, match="needs the simulator's truth"):
        policy.act([Observation({}, "go")])


def test_tasks_are_found_by_name() -> None:
    assert [task.name for task in choose_tasks()] == ["carrot", "eggplant", "spoon", "stack"]
    with pytest.raises(ValueError, match="no task 'carot'; did you mean 'carrot'"):
        choose_tasks(["carot"])


def test_policy_has_one_view_and_expert_none() -> None:
    assert ExpertPolicy.embodiment.cameras == ()
    assert embodiment(["primary"], (96, 128)).cameras == ("primary",)
    with pytest.raises(ValueError, match=r"one view.*wants \['front', 'wrist'\]"):
        embodiment(["front", "wrist"])
