"""LIBERO's ground truth without LIBERO: a floor with things and a basket, and a hand that moves as it is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from thinkvla.contract import Actions
from thinkvla.simulators.libero.truth import Goal, Hand, Region, Thing, Truth, Vector

BASE = np.array([-0.6, 0.0, 0.0])
DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # columns: +y, +x, down
COVERED = 0.25, 0.13
"""Shares of a commanded move and turn that the controller covers in a step."""
SIZES = {
    "cream_cheese": (0.041, 0.021, 0.009),
    "akita_black_bowl": (0.053, 0.053, 0.025),
    "milk": (0.026, 0.026, 0.065),
}


def turned(yaw: float) -> Vector:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def thing(category: str, x: float, y: float, yaw: float = 0.0) -> Thing:
    """A thing on the floor."""
    half = np.array(SIZES[category])
    return Thing(f"{category}_1", category, np.array([x, y, half[2]]), turned(yaw), -half, half, movable=True)


def basket(x: float = 0.0, y: float = 0.25) -> tuple[Thing, Region]:
    low, high = np.array([-0.08, -0.08, 0.0]), np.array([0.08, 0.08, 0.14])
    place = np.array([x, y, 0.0])
    inside = Region(
        "basket_1_contain_region", "basket_1", np.array([x, y, 0.07]), np.eye(3), np.array([0.06, 0.06, 0.07])
    )
    return Thing("basket_1", "basket", place, np.eye(3), low, high, movable=True), inside


def cabinet(out: float = 0.0) -> tuple[Thing, Thing, Region]:
    """A cabinet that looks along −y over the floor, its drawer ``out`` by so many metres, and the drawer's inside."""
    place, half = np.array([0.0, 0.3, 0.2]), np.array([0.10, 0.08, 0.03])
    body = np.array([[[-0.11, -0.08, -0.2], [0.11, 0.1, 0.05]]])
    bar, front = [[-0.04, -0.11, -0.01], [0.04, -0.10, 0.01]], [[-0.11, -0.08, -0.03], [0.11, -0.07, 0.03]]
    box = np.array([bar, front, [[-0.10, -0.07, -0.03], [0.10, 0.08, -0.02]]])
    drawer = Thing(
        "cabinet_1_cabinet_top", "cabinet_1", place - [0.0, out, 0.0], np.eye(3), box[:, 0].min(axis=0),
        box[:, 1].max(axis=0), movable=False, part=True, solids=box,
    )  # fmt: skip
    inside = Region("cabinet_1_top_region", "cabinet_1", drawer.position, np.eye(3), half)
    fixed = Thing("cabinet_1", "cabinet", place, np.eye(3), body[0, 0], body[0, 1], movable=False, solids=body)
    return fixed, drawer, inside


def hand(x: float = -0.15, y: float = 0.0, z: float = 0.24, rotation: Vector = DOWN) -> Hand:
    return Hand(np.array([x, y, z]), rotation, 0.08, ())


def scene(*things: Thing, of: Hand | None = None) -> Truth:
    """The things and a basket, each thing to be put into it."""
    container, inside = basket()
    goals = tuple(Goal("in", (one.name, inside.name), False) for one in things)
    return settle(Truth(of or hand(), (*things, container), (inside,), {}, goals, BASE))


def settle(truth: Truth) -> Truth:
    """With goals that say what holds now."""
    goals = []
    for goal in truth.goals:
        region = truth.region(goal.arguments[1])
        offset = np.abs(truth.thing(goal.arguments[0]).position - region.position)
        goals.append(replace(goal, done=bool((offset < region.half_size).all())))
    return replace(truth, goals=tuple(goals))


def step(truth: Truth, action: Actions) -> Truth:
    """One control step of a hand without weight; what lies between closing fingers goes with it, else it falls."""
    old = truth.hand
    move = COVERED[0] * 0.05 * action[:3]
    rotation = _turn(COVERED[1] * 0.5 * action[3:6].astype(np.float64)) @ old.rotation
    position = old.position + move
    position[2] = max(position[2], 0.011)
    opening = float(np.clip(old.opening + (0.02 if action[6] > 0.5 else -0.02), 0.0, 0.08))
    holding: tuple[str, ...] = ()
    things = []
    for one in truth.things:
        local, size = (position - one.position) @ one.rotation, one.high - one.low
        width = float(size[np.argmax(np.abs(rotation[:, 0] @ one.rotation))])
        between = bool((np.abs(local) < size / 2 + 0.01).all()) and one.category != "basket"
        if between and action[6] < 0.5 and opening <= width:
            opening, holding = width, (one.name,)
            if one.name in old.holding:
                one = replace(one, position=one.position + position - old.position)
        elif one.movable and one.category != "basket":
            one = replace(one, position=np.append(one.position[:2], one.high[2]))  # it falls
        things.append(one)
    moved = replace(truth, hand=Hand(position, rotation, opening, holding), things=tuple(things))
    return settle(moved)


def _turn(vector: Vector) -> Vector:
    """Rotation matrix of an axis times an angle."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: Vector = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation
