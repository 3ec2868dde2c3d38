"""A scripted expert with privileged state and no memory.

Each action is a function of the present poses of hand, fingers, object and container alone, all of which the cameras
show, so that a policy that sees only images can imitate it. Motions are proportional to what is left to go, through a
"funnel" that keeps the hand high until it is above its goal, and slow near contact. A lost object is picked up again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinkvla.tabletop.arm import FINGER_TRAVEL
from thinkvla.tabletop.control import LARGEST_YAW, hand_yaw, palm_down, rotation_vector
from thinkvla.tabletop.embodiment import ROTATION, TRANSLATION
from thinkvla.tabletop.scene import SceneSpec
from thinkvla.tabletop.shapes import SHAPES
from thinkvla.tabletop.state import ObjectState, SceneState, Vector

OPEN, CLOSE = -1.0, 1.0

# Metres unless said otherwise.
_GAIN = 0.4  # share of the remaining way covered per step
_FASTEST = 0.7  # of the largest action
_HOVER = 0.062  # fingers above the grip point while moving sideways
_CARRY = 0.070  # underside of a held object above the table while moving sideways
_FINGERS_OVER = 0.033  # grip point above the highest thing while moving sideways
_OBJECT_OVER = 0.021  # underside of a held object above the highest thing while moving sideways
_RELEASE = 0.010  # underside of a held object above the container's floor when let go
_DELIVERED = 0.020  # underside below which an object over the container's floor counts as delivered
_RETREAT = 0.10  # grip point above the delivered object after letting go
_SQUEEZED = 0.005  # opening beyond the object's width up to which fingers hold it
_COMMITTED = 0.035  # fingers lower than this above the grip point keep the direction they have
_CLEAR = 0.018  # opening beyond the object's width from which fingers pass it freely


@dataclass(frozen=True)
class Grasp:
    """How the hand stands to an object.

    Attributes:
        point: (3,) where the object is to be held, metres, world frame.
        offset: (3,) the same from the hand, in the hand's frame.
        turn: radians to turn about the vertical until the fingers close across the object.
        spare: opening beyond the object's width, metres.
    """

    point: Vector
    offset: Vector
    turn: float
    spare: float

    @property
    def between(self) -> bool:
        """Whether the object is between the fingers, well enough to close them; stricter the wider they are open."""
        shut = 1.0 - np.clip(self.spare / (2 * FINGER_TRAVEL - 0.04), 0.0, 1.0)
        reach = np.array([0.008, 0.010, 0.007]) + shut * np.array([0.010, 0.010, 0.009])
        return bool((np.abs(self.offset) < reach).all()) and abs(self.turn) < 0.2 + 0.4 * float(shut)

    @property
    def held(self) -> bool:
        """Whether the fingers hold the object."""
        return self.between and bool(self.spare < _SQUEEZED)


def grasp(state: SceneState, name: str) -> Grasp:
    """How the hand stands to the object of that name."""
    target, hand = state.object(name), state.gripper
    shape = SHAPES[target.shape]
    point = target.position + target.rotation @ (np.asarray(shape.grip) * _scale(target))
    offset = hand.rotation.T @ (point - hand.position)
    return Grasp(point, offset, _turn(state, target, point), hand.opening - 2 * target.half_size[1])


class Expert:
    """Acts for a scene's goal from privileged state."""

    def __init__(self, scene: SceneSpec) -> None:
        self.target, self.container = scene.target, scene.container

    def delivered(self, state: SceneState) -> bool:
        """Whether the target is down in its container, held or not."""
        target, container = state.object(self.target), state.object(self.container)
        offset = container.rotation.T @ (target.position - container.position)
        inside = bool((np.abs(offset[:2]) < 0.7 * container.half_size[:2]).all())
        return inside and _underside(target) < _floor(container) + _DELIVERED

    def act(self, state: SceneState) -> NDArray[np.float32]:
        """The (7,) action for this moment, inside the embodiment's range."""
        hand, target, container = state.gripper, state.object(self.target), state.object(self.container)
        grip = grasp(state, self.target)
        underside, floor = _underside(target), _floor(container)
        highest = max(_topside(thing) for thing in state.objects if thing.name != self.target)
        turn = 0.0
        if self.delivered(state):
            fingers = OPEN
            move = container.position - hand.position  # in the middle no wall keeps the fingers from opening
            move[2] = 0.0
            if grip.spare > _CLEAR:
                move = np.array([0.0, 0.0, max(grip.point[2] + _RETREAT - hand.position[2], 0.0)])
        elif grip.held:
            fingers = CLOSE
            way = container.position - target.position
            over = max(_CARRY, highest + _OBJECT_OVER)
            move = _over_then_down(way, floor + _RELEASE - underside, over - underside)
            lifted = max(underside - _support(state, target), 0.0)
            move[2] = min(move[2], 0.03 + 0.6 * lifted)  # leave table or pedestal slowly
        elif grip.between:
            fingers = CLOSE
            move, turn = 0.4 * (grip.point - hand.position), grip.turn
        else:
            fingers, turn = OPEN, grip.turn
            lift = max(grip.point[2] + _HOVER, highest + _FINGERS_OVER) - hand.position[2]
            ready = abs(grip.turn) < 0.15 and grip.spare > _CLEAR
            down = grip.point[2] - hand.position[2] if ready else lift
            move = _over_then_down(grip.point - hand.position, down, lift)
        upright = palm_down(hand_yaw(hand.rotation) + turn)
        rotation = rotation_vector(upright @ hand.rotation.T)
        action = np.concatenate([_GAIN * move / TRANSLATION, _GAIN * rotation / ROTATION])
        return np.append(np.clip(action, -_FASTEST, _FASTEST), fingers).astype(np.float32)


def _over_then_down(way: Vector, down: float, up: float) -> Vector:
    """The way left (3,) through a funnel: sideways only near height ``up``, down only once over the goal.

    Args:
        way: (3,) to the goal; its height is not used.
        down: vertical way to the goal's height.
        up: vertical way to the height at which to move sideways.
    """
    sideways = float(np.linalg.norm(way[:2]))
    descent = float(np.clip((0.024 - sideways) / 0.016, 0.0, 1.0))
    vertical = descent * down + (1 - descent) * max(up, down)
    freedom = float(np.clip(1.4 - vertical / 0.03, 0.0, 1.0)) if sideways > 0.02 else 1.0
    return np.array([freedom * way[0], freedom * way[1], vertical])


def _turn(state: SceneState, target: ObjectState, point: Vector) -> float:
    """Radians to turn the hand until its fingers can close across the object: the least turn that finds them free."""
    yaw = hand_yaw(state.gripper.rotation)
    axes = SHAPES[target.shape].grip_axes
    if axes:
        directions = target.rotation[:2, list(axes)].T
        lengths = np.linalg.norm(directions, axis=1)
        directions = directions[lengths > 0.9 * lengths.max()]
    elif target.shape == "cylinder" and abs(target.rotation[2, 2]) < 0.7:  # lying: close across its length
        directions = np.cross(target.rotation[:, 2], [0.0, 0.0, 1.0])[None, :2]
    else:
        directions = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, -1.0], [1.0, 0.0]])
    angles = np.tile(np.arctan2(directions[:, 1], directions[:, 0]), 2)
    turns = (angles - yaw) % np.pi - np.pi / 2  # fingers travel at a right angle to the hand's yaw
    half = len(turns) // 2
    turns[half:] -= np.pi * np.sign(turns[half:])  # the other half: the same with the fingers swapped
    cost = np.abs(turns) + 2 * np.pi * (np.abs(yaw + turns) > LARGEST_YAW - 0.05)
    if state.gripper.position[2] > point[2] + _COMMITTED:
        cost += np.pi * np.array([_blocked(state, target, point, angle) for angle in angles])
    return float(turns[np.argmin(cost)])


def _blocked(state: SceneState, target: ObjectState, point: Vector, angle: float) -> bool:
    """Whether another thing stands where an open finger has to go."""
    reach = (FINGER_TRAVEL + 0.006) * np.array([np.cos(angle), np.sin(angle), 0.0])
    fingers = np.stack([point + reach, point - reach])
    for other in state.objects:
        local = np.abs((fingers - other.position) @ other.rotation)
        if other.name != target.name and (local < other.half_size + 0.012).all(axis=1).any():
            return True
    return False


def _underside(thing: ObjectState) -> float:
    """Height of the lowest point, metres, as the thing stands or lies now."""
    return float(thing.position[2]) - _rise(thing)


def _topside(thing: ObjectState) -> float:
    """Height of the highest point, metres, as the thing stands or lies now."""
    return float(thing.position[2]) + _rise(thing)


def _rise(thing: ObjectState) -> float:
    """Height of the highest point above the centre, metres."""
    lean, half = np.abs(thing.rotation[2]), thing.half_size
    if thing.shape == "ball":
        return float(half[2])
    if thing.shape == "cylinder":
        return float(np.hypot(lean[0], lean[1]) * half[0] + lean[2] * half[2])
    return float(lean @ half)


def _support(state: SceneState, target: ObjectState) -> float:
    """Height of the pedestal under a thing, metres; 0 where there is none."""
    under = (
        _topside(thing)
        for thing in state.objects
        if thing.shape == "pedestal" and np.hypot(*(thing.position - target.position)[:2]) < thing.half_size[0]
    )
    return max(under, default=0.0)


def _scale(thing: ObjectState) -> float:
    return float(thing.half_size[0] / SHAPES[thing.shape].half_size[0])


def _floor(container: ObjectState) -> float:
    """Height of the surface that is to carry the target, metres."""
    if container.shape == "pedestal":
        return _topside(container)
    underside = container.position[2] - container.half_size[2]
    return float(underside + SHAPES[container.shape].floor * _scale(container))
