"""Where the hand may hold a thing from above: across a box, or at the rim of something round and hollow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thinkvla.simulators.libero.motion import FINGER_TIP, palm_down
from thinkvla.simulators.libero.truth import Thing, Truth, Vector

FINGER_REACH = 0.040
"""Metres from the middle of the open hand to a finger's inner face."""
WIDEST = 0.070
_DEPTH = 0.032
_PAD = 0.016  # of a long thing, that is left beside the middle of the fingers
_ASIDE = 0.022  # from the middle, at least: what is shorter is held there alone
_HAND_THICKNESS = 0.032  # half of it
_STRETCHED = 0.74  # from the robot's base; farther away its arm is straight, and cannot but move in a circle
_HAND = np.array(
    [[(side * along, up) for along in (0.0, 0.035, 0.07) for up in np.arange(0.07, 0.33, 0.05)] for side in (1, -1)]
)
"""(2, 18, 2) points of the hand's halves on its way down: along the fingers' travel, above the grip point; metres."""


@dataclass(frozen=True)
class Rim:
    """A round, hollow thing, held with one finger inside.

    Attributes:
        depth: grip point below the rim, metres.
        centre: its middle in its own frame where a handle moves the bounding box; else the box's.
        radius: of the rim, metres; else half the box.
        handle: sign of the own x axis along which a handle is; 0 without one.
    """

    depth: float
    centre: tuple[float, float] | None = None
    radius: float | None = None
    handle: int = 0


RIMS = {
    "akita_black_bowl": Rim(0.024),
    "white_bowl": Rim(0.024),
    "plate": Rim(0.010),
    "porcelain_mug": Rim(0.030, (0.017, 0.0), 0.042, -1),
    "white_yellow_mug": Rim(0.030, (-0.018, 0.0), 0.046, 1),
}
KNOBS = {"moka_pot": 0.007}
"""Things held by a knob on top of their origin, and the grip point's depth below it, metres."""
_RIM_INSIDE = 0.008
_RIM_ANGLES = np.arange(12) * 2 * np.pi / 12


@dataclass(frozen=True)
class Grasp:
    """One way to hold a thing.

    Attributes:
        point: (3,) where the grip point goes, metres, world frame.
        closing: (3,) horizontal unit vector along the fingers' travel.
        aside: metres from the thing's middle, where it would be held best.
    """

    point: Vector
    closing: Vector
    aside: float = 0.0


def grasps(thing: Thing) -> Iterator[Grasp]:
    """Every way to hold a thing as it stands now."""
    if thing.category in RIMS:
        yield from _at_rim(thing, RIMS[thing.category])
    elif thing.category in KNOBS:
        point = np.append(thing.position[:2], thing.top - KNOBS[thing.category])
        yield from (Grasp(point, closing) for closing in np.eye(3)[:2])
    else:
        yield from _across(thing)


def _across(thing: Thing) -> Iterator[Grasp]:
    up = int(np.argmax(np.abs(thing.rotation[2])))
    point = thing.centre
    point[2] = max(thing.top - _DEPTH, thing.underside + FINGER_TIP + 0.001)
    for axis in {0, 1, 2} - {up}:
        if thing.high[axis] - thing.low[axis] <= WIDEST:
            closing = thing.rotation[:, axis] * [1.0, 1.0, 0.0]
            closing /= np.linalg.norm(closing)
            yield Grasp(point, closing)
            other = 3 - up - axis
            room = float(thing.high[other] - thing.low[other]) / 2 - _PAD
            if room > _ASIDE:
                along = np.array([-closing[1], closing[0], 0.0])
                yield from (Grasp(point + side * room * along, closing, room) for side in (1, -1))


def _at_rim(thing: Thing, rim: Rim) -> Iterator[Grasp]:
    centre = thing.centre
    if rim.centre is not None:
        centre = thing.position + thing.rotation @ np.array([*rim.centre, 0.0])
    radius = rim.radius or float((thing.high - thing.low)[:2].mean()) / 2
    for angle in _RIM_ANGLES:
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        if rim.handle * float(outward @ thing.rotation[:, 0]) < 0.5:
            point = centre + (radius - _RIM_INSIDE) * outward
            point[2] = max(thing.top - rim.depth, thing.underside + FINGER_TIP + 0.001)
            yield Grasp(point, outward)


def turn_to(hand: Vector, closing: Vector) -> float:
    """Radians to turn a hand (3, 3) about the vertical until its fingers travel along ``closing``, either way round."""
    fingers = palm_down(hand, 0.0)[:, 0]
    yaw = np.arctan2(fingers[1], fingers[0])
    turn = float(np.arctan2(closing[1], closing[0]) - yaw)
    return (turn + np.pi / 2) % np.pi - np.pi / 2


def best_grasp(truth: Truth, thing: Thing, narrow: Vector | None = None) -> Grasp:
    """The grasp that is free of other things and near the hand.

    Args:
        truth: this moment.
        thing: what to hold.
        narrow: (3,) horizontal unit vector along which there is little room for the hand where the thing is to go.

    Raises:
        ValueError: if the thing is too wide for the hand.
    """
    candidates = list(grasps(thing))
    if not candidates:
        raise ValueError(f"'{thing.name}' is wider than the hand opens, and nothing says where else to hold it")
    costs = [_cost(truth, thing, grasp, narrow) for grasp in candidates]
    return candidates[int(np.argmin(costs))]


def _cost(truth: Truth, thing: Thing, grasp: Grasp, narrow: Vector | None) -> float:
    hand = truth.hand
    away = float(np.linalg.norm((grasp.point - hand.position)[:2]))
    cost = abs(turn_to(hand.rotation, grasp.closing)) + away / 0.1
    if hand.position[2] > grasp.point[2] + 0.03:  # lower than that it keeps to where it went down
        cost += 4.0 * _blocked(truth, thing, grasp) + grasp.aside / 0.05
        if thing.category in RIMS:  # else there is no choice of how far away
            cost += max(0.0, float(np.linalg.norm((grasp.point - truth.base)[:2])) - _STRETCHED) / 0.01
        if narrow is not None:
            cost += 6.0 * abs(float(grasp.closing @ narrow))
    return cost


def _blocked(truth: Truth, thing: Thing, grasp: Grasp) -> int:
    """How many open fingers, and halves of the hand above them, would come down on another thing."""
    reach = (FINGER_REACH + 0.012) * grasp.closing
    heights = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.03]])
    fingers = (grasp.point + np.stack([reach, -reach]))[:, None] + heights
    hand = grasp.point + _HAND[:, :, :1] * grasp.closing + _HAND[:, :, 1:] * np.array([0.0, 0.0, 1.0])
    blocked, under = np.zeros(fingers.shape[:2], dtype=bool), np.zeros(hand.shape[:2], dtype=bool)
    for other in truth.things:
        if other.name != thing.name:
            blocked |= other.hit(fingers.reshape(-1, 3), 0.012).reshape(blocked.shape)
            under |= other.hit(hand.reshape(-1, 3), _HAND_THICKNESS).reshape(under.shape)
    return int(blocked.any(axis=1).sum() + under.any(axis=1).sum())
