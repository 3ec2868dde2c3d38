"""A scripted expert with privileged state and no memory.

Each action is a function of :class:`~thinkvla.simulators.libero.truth.Truth` alone, most of which the cameras show: a
policy that sees only images can imitate it, and a server can ask it about any moment. Motions are proportional to what
is left to go, through a "funnel" that keeps the hand high until it is above its goal. A lost object is picked up again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinkvla.simulators.libero.fixtures import (
    close,
    drawer_of,
    from_under,
    hand_off,
    inside,
    is_ready,
    open_drawer,
    turn_on,
)
from thinkvla.simulators.libero.grasping import Grasp, best_grasp, turn_to
from thinkvla.simulators.libero.motion import (
    CLOSED,
    FINGER_TIP,
    OPEN,
    action,
    funnel,
    highest_between,
    outside,
)
from thinkvla.simulators.libero.truth import Goal, Region, Thing, Truth, Vector

# Metres.
_HOVER = 0.045  # finger tips above the grip point's thing while moving sideways
_OVER = 0.025  # lowest point above whatever stands in the way
_THERE = 0.015, 0.020  # off a thing's place on another, to let go of it: horizontally, vertically
_BELOW = 0.05  # the middle of a region, so that things are lowered until they are in it
_BY = 0.05  # sideways off its place, where a thing is still to be lifted
_ABREAST = {"in": 0.06, "on": 0.105}  # between things that share a place
_NEAR = 0.006, 0.008  # off the grip point to close the fingers: horizontally, vertically


class Expert:
    """Acts for the goals of a scene; it keeps nothing from one moment to the next."""

    def act(self, truth: Truth) -> NDArray[np.float32]:
        """The (7,) action for this moment, inside the range of the embodiment ``libero`` (gripper 1 open, 0 closed)."""
        for goal in truth.goals:
            if goal.done and goal.predicate in ("in", "on") and _is_at(truth, goal.arguments[0]):
                return _leave(truth, goal.arguments[0])
        for goal in sorted(truth.goals, key=lambda goal: _ORDER.index(goal.predicate)):
            if not goal.done:
                return _SKILLS[goal.predicate](truth, goal)
        return action(truth.hand, np.zeros(3), 0.0, OPEN)


def _pick(truth: Truth, thing: Thing, grasp: Grasp | None = None) -> NDArray[np.float32]:
    """Go to a thing and close the fingers on it."""
    hand = truth.hand
    grasp = grasp or best_grasp(truth, thing)
    way, turn = grasp.point - hand.position, turn_to(hand.rotation, grasp.closing)
    shutting = hand.opening < 0.07
    slack = 2.0 if shutting else 1.0
    if np.linalg.norm(way[:2]) < slack * _NEAR[0] and abs(way[2]) < slack * _NEAR[1] and abs(turn) < 0.15 * slack:
        return action(hand, way, turn, CLOSED)
    highest = max(highest_between(truth, hand.position, grasp.point, 0.06, (thing.name,)) + _OVER, thing.top + _HOVER)
    up = highest + FINGER_TIP - hand.position[2]
    if abs(turn) > 0.2 or hand.opening < 0.07:
        way = np.array([way[0], way[1], max(up, way[2])])
    return action(hand, funnel(way, up), turn, OPEN)


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
    highest = max(over, highest_between(truth, hand.position, spot, reach, (thing.name, *but)) + _OVER)
    way = np.append((spot - thing.position)[:2], spot[2] - thing.underside)
    if np.linalg.norm(way[:2]) > _BY and (out := from_under(truth, thing)) is not None:
        return action(hand, out, 0.0, CLOSED)
    return action(hand, funnel(way, highest - thing.underside), 0.0, CLOSED)


def _place(truth: Truth, goal: Goal) -> NDArray[np.float32]:
    """``in`` and ``on``: pick a thing up and put it where the goal says."""
    thing, target = truth.thing(goal.arguments[0]), goal.arguments[1]
    region = truth.region(target) if truth.has_region(target) else None
    drawer = None if region is None else drawer_of(truth, region)
    if drawer is not None and not is_ready(truth, drawer):
        return open_drawer(truth, drawer)
    if (off := hand_off(truth)) is not None:
        return off
    if thing.name not in truth.hand.holding:
        narrow = None if drawer is None else drawer.rotation[:, 1]
        return _pick(truth, thing, best_grasp(truth, thing, narrow))
    if region is not None and drawer is not None:
        spot = inside(truth, drawer, region, thing) - [0.0, 0.0, _BELOW]
        return _put(truth, thing, spot, _rim_of(truth, region) + _OVER, (region.parent,))
    if region is not None:
        return _put(truth, thing, _spot(truth, goal, region), _rim_of(truth, region) + _OVER, (region.parent,))
    other = truth.thing(target)
    spot = np.append(other.position[:2], other.underside)
    if np.linalg.norm((spot - thing.position)[:2]) < _THERE[0] and thing.underside - spot[2] < _THERE[1]:
        return action(truth.hand, np.zeros(3), 0.0, OPEN)  # it may lean on a rim, and will slide down
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
    spot[2] -= _BELOW
    if len(sharing) > 1:
        place = sharing.index(goal.arguments[0]) - (len(sharing) - 1) / 2
        spot[:2] += _ABREAST[goal.predicate] * place * region.rotation[:2, 0]
    return spot


def _is_at(truth: Truth, name: str) -> bool:
    """Whether the hand is still around a thing."""
    thing, hand = truth.thing(name), truth.hand
    upright = hand.rotation[2, 2] < -0.9  # else it shuts the drawer that the thing is in
    return name in hand.holding or (upright and outside(thing, hand.position) < 0.045)


def _leave(truth: Truth, name: str) -> NDArray[np.float32]:
    """Let go of a thing and rise from it."""
    hand = truth.hand
    rise = 0.08 if hand.opening > 0.06 and name not in hand.holding else 0.0
    return action(hand, np.array([0.0, 0.0, rise]), 0.0, OPEN)


def _open(truth: Truth, goal: Goal) -> NDArray[np.float32]:
    """``open``: a drawer."""
    drawer = drawer_of(truth, truth.region(goal.arguments[0]))
    if drawer is None:
        raise ValueError(f"the expert cannot open '{goal.arguments[0]}': it is not a drawer")
    return open_drawer(truth, drawer, wide=True)


_SKILLS = {"in": _place, "on": _place, "open": _open, "close": close, "turnon": turn_on}
_ORDER = ("turnon", "open", "in", "on", "close")
"""What is done first where a task has several goals."""
