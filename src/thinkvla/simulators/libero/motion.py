"""Motions that the scripted expert is made of: a commanded action, the funnel, and what stands in the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thinkvla.simulators.libero.truth import Hand, Thing, Truth, Vector

OPEN, CLOSED = 1.0, 0.0

# Of a control step: the controller covers about a quarter of a commanded move, an eighth of a commanded turn.
TRANSLATION = 0.05  # metres that a value of 1 asks for
ROTATION = 0.5  # radians
_GAIN = 2.0
_TURN_GAIN = 3.0
_FASTEST_TURN = 0.5

# Metres.
FINGER_TIP = 0.011  # that the finger tips reach beyond the grip point
_FUNNEL = 0.010, 0.030  # sideways way left at which the hand goes all the way down, and at which it stays up


def action(
    hand: Hand, move: Vector, turn: float, fingers: float, rotation: Vector | None = None
) -> NDArray[np.float32]:
    """An action (7,): move by ``move`` metres, and turn by ``turn`` radians about the vertical, palm down.

    With ``rotation`` (3, 3) the hand turns towards that instead.
    """
    wanted = palm_down(hand.rotation, turn) if rotation is None else rotation
    translation = np.clip(_GAIN * move / TRANSLATION, -1.0, 1.0)
    turning = _TURN_GAIN * rotation_vector(wanted @ hand.rotation.T) / ROTATION
    return np.concatenate([translation, np.clip(turning, -_FASTEST_TURN, _FASTEST_TURN), [fingers]]).astype(np.float32)


def palm_down(hand: Vector, turn: float) -> Vector:
    """(3, 3) the hand tilted upright by the shortest way, and turned about the vertical."""
    palm = hand[:, 2]
    x, y, down = -float(palm[1]), float(palm[0]), -float(palm[2])  # palm × down, and their cosine
    if down < -0.999:  # palm up: any way is as short
        tilt = 2 * np.outer(hand[:, 0], hand[:, 0]) - np.eye(3)
    else:
        cross = np.array([[0.0, 0.0, y], [0.0, 0.0, -x], [-y, x, 0.0]])
        tilt = np.eye(3) + cross + cross @ cross / (1 + down)
    c, s = np.cos(turn), np.sin(turn)
    upright: Vector = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ tilt @ hand
    return upright


def rotation_vector(rotation: Vector) -> Vector:
    """(3,) axis times angle of a rotation matrix of less than half a turn."""
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = float(np.linalg.norm(axis)) / 2, (float(np.trace(rotation)) - 1) / 2
    return axis / 2 * (np.arctan2(sine, cosine) / sine if sine > 1e-9 else 1.0)


def funnel(way: Vector, up: float) -> Vector:
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


def highest_between(truth: Truth, start: Vector, end: Vector, reach: float, but: tuple[str, ...]) -> float:
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
        if outside(thing, np.append(nearest, thing.centre[2])) < reach:
            highest = max(highest, thing.top)
    return highest


def outside(thing: Thing, point: Vector) -> float:
    """Metres from a point to a thing's bounding box."""
    local = (point - thing.position) @ thing.rotation
    return float(np.linalg.norm(np.maximum(np.maximum(thing.low - local, local - thing.high), 0.0)))
