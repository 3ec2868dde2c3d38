"""Where the hand may hold a thing from above: across a box, or at the rim of something round and hollow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thinkvla.simulators.libero.truth import Thing, Truth, Vector

FINGER_REACH = 0.040
"""Metres from the middle of the open hand to a finger's inner face."""
FINGER_TIP = 0.011
"""Metres that the finger tips reach beyond the grip point."""
WIDEST = 0.070
_DEPTH = 0.032
_RIM_DEPTH = 0.030
_RIM_INSIDE = 0.008
_RIMS = 12
_RIM_CATEGORIES = {"akita_black_bowl": _RIM_DEPTH, "white_bowl": _RIM_DEPTH, "plate": 0.012}


@dataclass(frozen=True)
class Grasp:
    """One way to hold a thing.

    Attributes:
        point: (3,) where the grip point goes, metres, world frame.
        closing: (3,) horizontal unit vector along the fingers' travel.
    """

    point: Vector
    closing: Vector


def grasps(thing: Thing) -> Iterator[Grasp]:
    """Every way to hold a thing as it stands now."""
    if thing.category in _RIM_CATEGORIES:
        yield from _at_rim(thing, _RIM_CATEGORIES[thing.category])
    else:
        yield from _across(thing)


def _across(thing: Thing) -> Iterator[Grasp]:
    up = int(np.argmax(np.abs(thing.rotation[2])))
    point = thing.centre
    point[2] = max(thing.top - _DEPTH, thing.underside + FINGER_TIP + 0.001)
    for axis in {0, 1, 2} - {up}:
        if thing.high[axis] - thing.low[axis] <= WIDEST:
            closing = thing.rotation[:, axis] * [1.0, 1.0, 0.0]
            yield Grasp(point, closing / np.linalg.norm(closing))


def _at_rim(thing: Thing, depth: float) -> Iterator[Grasp]:
    centre = thing.centre
    radius = float((thing.high - thing.low)[:2].mean()) / 2 - _RIM_INSIDE
    for angle in np.arange(_RIMS) * 2 * np.pi / _RIMS:
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        point = centre + radius * outward
        point[2] = max(thing.top - depth, thing.underside + FINGER_TIP + 0.001)
        yield Grasp(point, outward)


def turn_to(hand: Vector, closing: Vector) -> float:
    """Radians to turn a hand (3, 3) about the vertical until its fingers travel along ``closing``, either way round."""
    yaw = np.arctan2(hand[1, 0], hand[0, 0])
    turn = float(np.arctan2(closing[1], closing[0]) - yaw)
    return (turn + np.pi / 2) % np.pi - np.pi / 2


def best_grasp(truth: Truth, thing: Thing) -> Grasp:
    """The grasp that is free of other things and near the hand; raises ValueError if the thing is too wide for it."""
    candidates = list(grasps(thing))
    if not candidates:
        raise ValueError(f"'{thing.name}' is wider than the hand opens, and nothing says where else to hold it")
    costs = [_cost(truth, thing, grasp) for grasp in candidates]
    return candidates[int(np.argmin(costs))]


def _cost(truth: Truth, thing: Thing, grasp: Grasp) -> float:
    hand = truth.hand
    away = float(np.linalg.norm((grasp.point - hand.position)[:2]))
    cost = abs(turn_to(hand.rotation, grasp.closing)) + away / 0.1
    if hand.position[2] > grasp.point[2] + 0.03:  # lower than that it keeps to where it went down
        cost += 4.0 * _blocked(truth, thing, grasp)
    return cost


def _blocked(truth: Truth, thing: Thing, grasp: Grasp) -> int:
    """How many open fingers would come down on another thing."""
    reach = (FINGER_REACH + 0.012) * grasp.closing
    fingers = grasp.point + np.stack([reach, -reach])
    blocked = np.zeros(2, dtype=bool)
    for other in truth.things:
        if other.name != thing.name:
            local = (fingers - other.position) @ other.rotation
            blocked |= ((local > other.low - 0.012) & (local < other.high + 0.012)).all(axis=1)
    return int(blocked.sum())
