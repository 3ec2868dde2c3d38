"""What the scripted expert does with things that are not carried: drawers, doors and knobs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinkvla.simulators.libero.grasping import turn_to
from thinkvla.simulators.libero.motion import CLOSED, FINGER_TIP, OPEN, action, funnel, highest_between
from thinkvla.simulators.libero.truth import Goal, Region, Thing, Truth, Vector

Action = NDArray[np.float32]
UP = np.array([0.0, 0.0, 1.0])

# Metres; in a drawer's frame, whose front looks along −y.
_HANDLE_DEPTH = 0.008  # middle of a drawer's bar behind its outermost point
_BEFORE = 0.09  # in front of a handle, where the hand waits until it is turned
_OPENED = 0.115  # how far a drawer is pulled out for things to go in: farther, it hides what stands before it
_NUDGED = 0.025  # that it may have been pushed back since by what went past it
_BAR = 0.04  # opening of the fingers below which they hold a bar
_AROUND_BAR = 0.07  # from it, a hand that has to do with it
_TO_FRONT = 0.028  # off the middle of a drawer, where things come down in it clear of what is above its rear
_WALL = 0.02  # of a drawer and what must be left beside it
_CLEAR = 0.015  # between a thing that is lifted and a drawer that it stood under
_TILT = np.radians(40)  # of the palm, to shut a drawer under others, whose bars stand out


def drawer_of(truth: Truth, region: Region) -> Thing | None:
    """The drawer whose inside a region is; None for a region of something else."""
    level = region.name.removeprefix(f"{region.parent}_").removesuffix("_region")
    return next((thing for thing in truth.things if thing.name == f"{region.parent}_cabinet_{level}"), None)


def opened(truth: Truth, drawer: Thing) -> float:
    """How far a drawer is out, metres."""
    cabinet = truth.thing(drawer.category)
    return float((cabinet.position - drawer.position) @ drawer.rotation[:, 1])


def is_ready(truth: Truth, drawer: Thing) -> bool:
    """Whether a drawer is far enough out for things to go in."""
    pulling = np.linalg.norm(handle(drawer) - truth.hand.position) < _AROUND_BAR
    return opened(truth, drawer) > _OPENED - (0.0 if pulling else _NUDGED)


def handle(drawer: Thing) -> Vector:
    """(3,) middle of a drawer's bar, world frame."""
    front = drawer.solids[np.argmin(drawer.solids[:, 0, 1])]
    middle = front.mean(axis=0)
    middle[1] = front[0, 1] + _HANDLE_DEPTH
    point: Vector = drawer.position + drawer.rotation @ middle
    return point


def inside(truth: Truth, drawer: Thing, region: Region, thing: Thing) -> Vector:
    """(3,) where in an open drawer a held thing goes: beside the middle, so that the hand has room at the walls."""
    across, inwards = drawer.rotation[:, 0], drawer.rotation[:, 1]
    room = max(0.0, float((drawer.high - drawer.low)[0] - max((thing.high - thing.low)[:2])) / 2 - _WALL)
    aside = float(np.clip((truth.hand.position - thing.position) @ across, -room, room))
    spot: Vector = region.position - _TO_FRONT * inwards - aside * across
    return spot


def from_under(truth: Truth, thing: Thing) -> Vector | None:
    """(3,) the way out from under a drawer that stands out over a thing, before it is lifted; None when none does."""
    for drawer in truth.things:
        if not drawer.part or "_cabinet_" not in drawer.name or drawer.underside < thing.top - 0.005:
            continue
        local = (thing.corners - drawer.position) @ drawer.rotation
        beside = local[:, 0].min() > drawer.high[0] or local[:, 0].max() < drawer.low[0]
        under = float(local[:, 1].max() - drawer.low[1]) + _CLEAR
        if not beside and under > 0:
            way: Vector = -(under + _CLEAR) * drawer.rotation[:, 1]
            return way
    return None


def _facing(drawer: Thing, hand: Vector) -> Vector:
    """(3, 3) the hand with its palm to a drawer's front and one finger over the other."""
    inwards = drawer.rotation[:, 1]
    sides = [np.stack([closing, np.cross(inwards, closing), inwards], axis=1) for closing in (UP, -UP)]
    return max(sides, key=lambda side: float(np.trace(side.T @ hand)))  # the nearer way round


def open_drawer(truth: Truth, drawer: Thing, wide: bool = False) -> Action:
    """Take a drawer's bar, the palm towards it, and pull: until things can go in, or as ``wide`` as it goes."""
    hand, inwards = truth.hand, drawer.rotation[:, 1]
    bar, rotation = handle(drawer), _facing(drawer, truth.hand.rotation)
    way = bar - hand.position
    ahead = float(way @ inwards)
    aside = way - ahead * inwards
    turned = float(np.trace(rotation @ hand.rotation.T)) > 2.9  # within 0.32 rad
    if turned and np.linalg.norm(aside) < 0.012 and abs(ahead) < 0.012:
        left = 0.06 if wide else min(0.06, 0.5 * (_OPENED - opened(truth, drawer)) + 0.008)
        pull = -left * inwards if hand.opening < _BAR else ahead * inwards
        return action(hand, aside + pull, 0.0, CLOSED, rotation)
    if turned and np.linalg.norm(aside) < 0.012 and hand.opening > 0.06:
        return action(hand, aside + np.clip(ahead, -0.02, 0.02) * inwards, 0.0, OPEN, rotation)
    before = bar - _BEFORE * inwards - hand.position
    if np.linalg.norm(before[:2]) > 0.05:
        before[2] = max(before[2], 0.0)
    return action(hand, before, 0.0, OPEN, rotation)


def hand_off(truth: Truth) -> Action | None:
    """Away from a handle and upright again, before something else is done; None when the hand is upright."""
    hand = truth.hand
    palm = hand.rotation[:, 2]
    if palm @ -UP > 0.7:
        return None
    drawers = [thing for thing in truth.things if thing.part and "_cabinet_" in thing.name]
    if any(np.linalg.norm(handle(drawer) - hand.position) < _AROUND_BAR for drawer in drawers):
        back = 0.06 if hand.opening > 0.05 else 0.0  # not with the drawer
        return action(hand, -back * palm, 0.0, OPEN, hand.rotation)
    return action(hand, 0.05 * UP, 0.0, OPEN)


def close(truth: Truth, goal: Goal) -> Action:
    """``close``: push a drawer or a door shut with the fingers closed."""
    name = goal.arguments[0]
    if truth.has_region(name):
        drawer = drawer_of(truth, truth.region(name))
        if drawer is None:
            raise ValueError(f"the expert cannot close '{name}': it is not a drawer")
        inwards = drawer.rotation[:, 1]
        return _shove(truth, handle(drawer) - 0.015 * inwards, inwards, _tilted(drawer, truth.hand.rotation))
    door = max((t for t in truth.things if t.part and t.category == name), key=lambda t: t.top)
    hinge = door.position
    ends = [door.position + door.rotation @ np.array([x, (door.low[1] + door.high[1]) / 2, 0.0]) for x in _edges(door)]
    edge = max(ends, key=lambda end: float(np.linalg.norm((end - hinge)[:2])))
    inwards = np.cross(UP, edge - hinge)
    inwards /= np.linalg.norm(inwards)
    point = hinge + 0.85 * (edge - hinge)
    point[2] = door.top - 0.05
    return _shove(truth, point - 0.02 * inwards, inwards)


def _tilted(drawer: Thing, hand: Vector) -> Vector:
    """(3, 3) the hand with its palm down and towards a drawer's front, both fingers at the same height."""
    palm = np.sin(_TILT) * drawer.rotation[:, 1] - np.cos(_TILT) * UP
    sides = [
        np.stack([side, np.cross(palm, side), palm], axis=1)
        for side in np.array([[1.0], [-1.0]]) * drawer.rotation[:, 0]
    ]
    return max(sides, key=lambda side: float(np.trace(side.T @ hand)))


def _edges(door: Thing) -> tuple[float, float]:
    return float(door.low[0]), float(door.high[0])


def turn_on(truth: Truth, goal: Goal) -> Action:
    """``turnon``: take a stove's knob from above and turn it."""
    hand = truth.hand
    knob = next(thing for thing in truth.things if thing.part and thing.category == goal.arguments[0])
    point = knob.position.copy()
    point[2] = knob.top - 0.010
    way, turn = point - hand.position, turn_to(hand.rotation, knob.rotation[:, 0])
    low = abs(way[2]) < 0.012
    if np.linalg.norm(way[:2]) < 0.015 and low and (abs(turn) < 0.2 or hand.opening < 0.06):
        return action(hand, way, 0.2 if hand.opening < 0.055 else turn, CLOSED)
    up = max(highest_between(truth, hand.position, point, 0.06, ()), knob.top + 0.02) + 0.025 + FINGER_TIP
    return action(hand, funnel(way, up - hand.position[2]), turn, OPEN)


def _shove(truth: Truth, start: Vector, direction: Vector, rotation: Vector | None = None) -> Action:
    """Go to ``start`` from above, fingers closed, and from there along ``direction``; turned to ``rotation`` if any."""
    hand = truth.hand
    turned = rotation is None or float(np.trace(rotation @ hand.rotation.T)) > 2.9  # within 0.32 rad
    way = start - hand.position
    behind = float(way @ direction)
    aside = way - behind * direction
    if turned and np.linalg.norm(aside) < 0.02 and behind < 0.04:
        return action(hand, aside + 0.03 * direction, 0.0, CLOSED, rotation)
    # Down a little before it, so that the fingers do not come down on the thing itself.
    back = start - 0.03 * direction
    up = highest_between(truth, hand.position, back, 0.05, ()) + 0.03 + FINGER_TIP - hand.position[2]
    way = back - hand.position
    if not turned:
        way[2] = max(up, way[2])
    return action(hand, funnel(way, up), 0.0, CLOSED, rotation)
