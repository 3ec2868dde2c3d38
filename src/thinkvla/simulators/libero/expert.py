"""A scripted expert with privileged state and no memory.

Each action is a function of :class:`~thinkvla.simulators.libero.truth.Truth` alone, most of which the cameras show: a
policy that sees only images can imitate it, and a server can ask it about any moment. Motions are proportional to what
is left to go, through a "funnel" that keeps the hand high until it is above its goal. A lost object is picked up again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinkvla.simulators.libero.grasping import FINGER_TIP, Grasp, best_grasp, turn_to
from thinkvla.simulators.libero.truth import Goal, Hand, Region, Thing, Truth, Vector

OPEN, CLOSED = 1.0, 0.0

# Of a control step: the controller covers about a quarter of a commanded move, an eighth of a commanded turn.
TRANSLATION = 0.05  # metres that a value of 1 asks for
ROTATION = 0.5  # radians
_GAIN = 2.0
_TURN_GAIN = 3.0
_FASTEST_TURN = 0.5

# Metres.
_HOVER = 0.045  # finger tips above the grip point's thing while moving sideways
_OVER = 0.025  # lowest point above whatever stands in the way
_NEAR = 0.006, 0.016  # off the grip point to close the fingers: horizontally, vertically
_FUNNEL = 0.010, 0.030  # sideways way left at which the hand goes all the way down, and at which it stays up


class Expert:
    """Acts for the goals of a scene; it keeps nothing from one moment to the next."""

    def act(self, truth: Truth) -> NDArray[np.float32]:
        """The (7,) action for this moment, inside the range of the embodiment ``libero`` (gripper 1 open, 0 closed)."""
        for goal in truth.goals:
            if goal.done and goal.predicate in ("in", "on") and _is_at(truth, goal.arguments[0]):
                return _leave(truth, goal.arguments[0])
        for goal in truth.goals:
            if not goal.done:
                return _SKILLS[goal.predicate](truth, goal)
        return action(truth.hand, np.zeros(3), 0.0, OPEN)


def action(hand: Hand, move: Vector, turn: float, fingers: float, fastest: float = 1.0) -> NDArray[np.float32]:
    """An action (7,): move by ``move`` metres, turn by ``turn`` radians about the vertical, palm down."""
    rotation = _palm_down(hand.rotation, turn) @ hand.rotation.T
    translation = np.clip(_GAIN * move / TRANSLATION, -fastest, fastest)
    turning = np.clip(_TURN_GAIN * _rotation_vector(rotation) / ROTATION, -_FASTEST_TURN, _FASTEST_TURN)
    return np.concatenate([translation, turning, [fingers]]).astype(np.float32)


def _palm_down(hand: Vector, turn: float) -> Vector:
    """(3, 3) the upright hand nearest to ``hand``, turned about the vertical."""
    yaw = np.arctan2(hand[1, 0], hand[0, 0]) + turn
    closing = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    return np.stack([closing, np.cross(down, closing), down], axis=1)


def _rotation_vector(rotation: Vector) -> Vector:
    """(3,) axis times angle of a rotation matrix of less than half a turn."""
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = float(np.linalg.norm(axis)) / 2, (float(np.trace(rotation)) - 1) / 2
    return axis / 2 * (np.arctan2(sine, cosine) / sine if sine > 1e-9 else 1.0)


def _funnel(way: Vector, up: float) -> Vector:
    """The way left (3,) so that the hand moves sideways only near height ``up`` above it, and down only over the goal.

    Args:
        way: (3,) to the goal.
        up: vertical way to the height at which to move sideways.
    """
    sideways = float(np.linalg.norm(way[:2]))
    descent = float(np.clip((_FUNNEL[1] - sideways) / (_FUNNEL[1] - _FUNNEL[0]), 0.0, 1.0))
    vertical = descent * way[2] + (1 - descent) * max(up, way[2])
    freedom = float(np.clip(1.5 - max(up, 0.0) / 0.03, 0.0, 1.0)) if sideways > _FUNNEL[1] else 1.0
    return np.array([freedom * way[0], freedom * way[1], vertical])


def _highest_between(truth: Truth, start: Vector, end: Vector, reach: float, but: tuple[str, ...]) -> float:
    """Height of the highest thing within ``reach`` metres of the straight way between two points, seen from above."""
    way = (end - start)[:2]
    length = float(way @ way)
    highest = -np.inf
    for thing in truth.things:
        if thing.name in but:
            continue
        centre = thing.centre[:2]
        along = float(np.clip((centre - start[:2]) @ way / length, 0.0, 1.0)) if length > 1e-9 else 0.0
        nearest = start[:2] + along * way
        local = (np.append(nearest, thing.centre[2]) - thing.position) @ thing.rotation
        outside = np.maximum(np.maximum(thing.low - local, local - thing.high), 0.0)
        if np.linalg.norm(outside) < reach:
            highest = max(highest, thing.top)
    return highest


def _pick(truth: Truth, thing: Thing, grasp: Grasp | None = None) -> NDArray[np.float32]:
    """Go to a thing and close the fingers on it."""
    hand = truth.hand
    grasp = grasp or best_grasp(truth, thing)
    way, turn = grasp.point - hand.position, turn_to(hand.rotation, grasp.closing)
    shutting = hand.opening < 0.07
    slack = 2.0 if shutting else 1.0
    if np.linalg.norm(way[:2]) < slack * _NEAR[0] and abs(way[2]) < slack * _NEAR[1] and abs(turn) < 0.15 * slack:
        return action(hand, way, turn, CLOSED)
    highest = max(_highest_between(truth, hand.position, grasp.point, 0.06, (thing.name,)) + _OVER, thing.top + _HOVER)
    up = highest + FINGER_TIP - hand.position[2]
    if abs(turn) > 0.2 or hand.opening < 0.07:
        way = np.array([way[0], way[1], max(up, way[2])])
        return action(hand, _funnel(way, up), turn, OPEN)
    return action(hand, _funnel(way, up), turn, OPEN)


def _put(truth: Truth, thing: Thing, spot: Vector, over: float, but: tuple[str, ...]) -> NDArray[np.float32]:
    """Carry a held thing until its origin is over ``spot`` and lower it to there.

    Args:
        truth: this moment.
        thing: what is held.
        spot: (3,) where its origin is to go; for its height, its lowest point counts.
        over: height above which its lowest point stays while it moves sideways.
        but: things that may be passed lower than their tops, since ``over`` says it.
    """
    hand = truth.hand
    reach = 0.04 + float(np.linalg.norm((thing.high - thing.low)[:2])) / 2
    highest = max(over, _highest_between(truth, hand.position, spot, reach, (thing.name, *but)) + _OVER)
    way = np.append((spot - thing.position)[:2], spot[2] - thing.underside)
    return action(hand, _funnel(way, highest - thing.underside), 0.0, CLOSED)


def _place(truth: Truth, goal: Goal) -> NDArray[np.float32]:
    """``in`` and ``on``: pick a thing up and put it where the goal says."""
    thing = truth.thing(goal.arguments[0])
    if thing.name not in truth.hand.holding:
        return _pick(truth, thing)
    target = goal.arguments[1]
    if truth.has_region(target):
        region = truth.region(target)
        return _put(truth, thing, _spot(truth, goal, region), _rim_of(truth, region) + _OVER, (region.parent,))
    other = truth.thing(target)
    spot = np.append(other.position[:2], other.underside)
    return _put(truth, thing, spot, other.top + _OVER, (other.name,))


def _rim_of(truth: Truth, region: Region) -> float:
    """Height that something must pass to get into a region."""
    if region.parent:
        return max(truth.thing(region.parent).top, float(region.position[2]))
    return float(region.position[2])


def _spot(truth: Truth, goal: Goal, region: Region) -> Vector:
    """Where in a region a thing goes: side by side when several are to go there."""
    sharing = [g.arguments[0] for g in truth.goals if g.arguments[1:] == goal.arguments[1:]]
    spot = region.position.copy()
    spot[2] -= 0.05
    if len(sharing) > 1:
        place = sharing.index(goal.arguments[0]) - (len(sharing) - 1) / 2
        spot[:2] += 0.06 * place * region.rotation[:2, 0]
    return spot


def _is_at(truth: Truth, name: str) -> bool:
    """Whether the hand is still around a thing."""
    thing, hand = truth.thing(name), truth.hand
    local = (hand.position - thing.position) @ thing.rotation
    outside = np.maximum(np.maximum(thing.low - local, local - thing.high), 0.0)
    return name in hand.holding or bool(np.linalg.norm(outside) < 0.045)


def _leave(truth: Truth, name: str) -> NDArray[np.float32]:
    """Let go of a thing and rise from it."""
    hand = truth.hand
    rise = 0.08 if hand.opening > 0.06 and name not in hand.holding else 0.0
    return action(hand, np.array([0.0, 0.0, rise]), 0.0, OPEN)


_SKILLS = {"in": _place, "on": _place}
