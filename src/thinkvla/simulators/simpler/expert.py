"""A scripted expert for the four tasks, with privileged state and no memory.

Each action is a function of the present moment alone: above the object, down, close, up, over to the goal, down, open,
up again. What is lost is picked up again. All lengths are metres, in the frame of the robot's base, whose z is up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinkvla.simulators.simpler.actions import Matrix, Vector, to_roll_pitch_yaw
from thinkvla.simulators.simpler.state import SceneState

_HOVER = 0.07  # hand above the grip point while moving sideways
_FUNNEL = (0.008, 0.04)  # sideways distance at which the hand may be down, and from which it is up
_TIP = 0.0165  # of the fingers below the hand's point, with a little room: the hand stays as far above the table
_FARTHEST = 0.09  # from the hand to where it is sent in one step
_CARRYING = 0.035  # the same with an object, which slips out of a faster hand
_TURN = 0.5  # radians, most in one step
_ALIGNED = (0.007, 0.15)  # metres sideways and radians at which the fingers close
_DEEP = 0.005  # above the grip point at which they do
_CLOSED, _GRASPED = 0.047, 0.064  # opening: fingers that hold nothing; fingers that hold the widest object
_NEAR = 0.025  # an object in the hand is no farther from it


@dataclass(frozen=True)
class Handling:
    """How one task's object is gripped and put down.

    Attributes:
        grip: along the object's longest axis, from its middle.
        symmetry: turns of the object that look the same to the fingers, radians.
        floor: height of what the object lies on.
        carry: height of the object's middle while it is carried.
        release: the object's middle above the goal's when it is let go.
        spread: largest sideways distance from the goal's middle when it is let go.
    """

    grip: float
    symmetry: float
    floor: float
    carry: float
    release: float
    spread: float


HANDLING = {
    "carrot": Handling(0.008, np.pi, 0.0, 0.08, 0.030, 0.010),
    "eggplant": Handling(0.0, np.pi, 0.035, 0.20, 0.06, 0.015),
    # The bowl: the neck is thinner than the fingers close.
    "spoon": Handling(-0.046, np.pi, 0.0, 0.08, 0.025, 0.015),
    "stack": Handling(0.0, np.pi / 2, 0.0, 0.09, 0.034, 0.006),
}


class Expert:
    """Acts for one task.

    Args:
        task: its name.
    """

    def __init__(self, task: str) -> None:
        self._how = HANDLING[task]

    def act(self, state: SceneState) -> NDArray[np.float32]:
        """float32 (7,) the next action, of the ``bridge`` embodiment."""
        grip = state.source.position + state.source.rotation[:, 0] * self._how.grip
        grip[2] = max(state.source.position[2], self._how.floor + _TIP)
        if self._holds(state, grip):
            return self._deliver(state)
        if self._delivered(state):
            above = state.hand.position.copy()
            above[2] = max(above[2], self._how.carry)
            return _action(state, above, _yaw(state.hand.rotation), open_gripper=True)
        return self._pick(state, grip)

    def _holds(self, state: SceneState, grip: Vector) -> bool:
        near = bool(np.linalg.norm(grip - state.hand.position) < _NEAR)
        lifted = bool(state.hand.position[2] > self._how.floor + _TIP + 0.03)
        return near and state.opening < _GRASPED and (state.touching or lifted)

    def _delivered(self, state: SceneState) -> bool:
        offset = state.source.position - state.goal.position
        return bool(np.linalg.norm(offset[:2]) < 0.05 and 0.0 < offset[2] < self._how.release + 0.015)

    def _pick(self, state: SceneState, grip: Vector) -> NDArray[np.float32]:
        """Above the object, down to it, and close."""
        hand = state.hand.position
        yaw = _nearest(_yaw_across(state.source.rotation), _yaw(state.hand.rotation), self._how.symmetry)
        turn = abs(_yaw(state.hand.rotation) - yaw)
        aside = float(np.linalg.norm((grip - hand)[:2]))
        down, up = _FUNNEL
        height = _HOVER * float(np.clip(max((aside - down) / (up - down), (turn - _ALIGNED[1]) / 0.3), 0.0, 1.0))
        if state.opening < _CLOSED:  # closed beside it
            return _action(state, _above(grip, _HOVER), yaw, open_gripper=True)
        closing = 2.0 if state.opening < 0.07 else 1.0  # closing fingers push what they close around
        between = aside < closing * _ALIGNED[0] and hand[2] - grip[2] < _DEEP and turn < closing * _ALIGNED[1]
        return _action(state, _above(grip, height), yaw, open_gripper=not between)

    def _deliver(self, state: SceneState) -> NDArray[np.float32]:
        """Up, over to the goal, down, and open."""
        how, hand, source = self._how, state.hand.position, state.source.position
        yaw = _yaw(state.hand.rotation)
        goal = state.goal.position + (hand - source)
        aside = float(np.linalg.norm((state.goal.position - source)[:2]))
        goal[2] += how.release
        if aside < how.spread:
            released = source[2] - state.goal.position[2] < how.release + 0.006
            return _action(state, goal, yaw, open_gripper=bool(released), farthest=_CARRYING)
        goal[2] = how.carry + (hand - source)[2]
        if aside > 0.03 and source[2] < how.carry - 0.03:
            goal[:2] = hand[:2]  # straight up first
        return _action(state, goal, yaw, open_gripper=False, farthest=_CARRYING)


def _action(
    state: SceneState, position: Vector, yaw: float, *, open_gripper: bool, farthest: float = _FARTHEST
) -> NDArray[np.float32]:
    """The action that aims the hand at a place, as far as one step goes, palm down."""
    hand, target = state.hand, state.target
    way = position - hand.position
    way *= min(1.0, farthest / max(float(np.linalg.norm(way)), 1e-9))
    now = _yaw(hand.rotation)
    rotation = _palm_down(now + float(np.clip(yaw - now, -_TURN, _TURN))) @ target.rotation.T
    change = way - rotation @ (target.position - hand.position)
    return np.array([*change, *to_roll_pitch_yaw(rotation), float(open_gripper)], np.float32)


def _above(point: Vector, height: float) -> Vector:
    return np.array([point[0], point[1], point[2] + height])


def _palm_down(yaw: float) -> Matrix:
    """(3, 3) rotation of a hand that points down; at yaw 0 its fingers move along the base's y."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[0.0, -sine, cosine], [0.0, cosine, sine], [-1.0, 0.0, 0.0]])


def _yaw(hand: Matrix) -> float:
    return float(np.arctan2(hand[1, 2], hand[0, 2]))


def _yaw_across(source: Matrix) -> float:
    """Yaw at which the fingers close across the object's longest axis."""
    return float(np.arctan2(source[1, 0], source[0, 0]))


def _nearest(yaw: float, reference: float, symmetry: float) -> float:
    """The same yaw for an object of that symmetry, nearest to another."""
    return yaw + symmetry * round((reference - yaw) / symmetry)
