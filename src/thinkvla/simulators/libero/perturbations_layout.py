"""Other layouts of a LIBERO scene that keep its goal: things moved, and others added that nobody asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from thinkvla.simulators.libero.footprints import around, footprint, gap, moved
from thinkvla.simulators.libero.problem import Problem, Rectangle

SHIFT = (0.02, 0.04, 0.06)
"""Most metres by which things move a way of their own at each level; they move at least three quarters of it."""
COMMON_SHIFT = (0.01, 0.02, 0.03)
"""The same where all move together."""
CLOSE = 0.01
"""Metres that must stay free between things that move, unless they were closer before."""
APART = 0.05
"""Metres between an added thing and everything else: the hand gets past it."""
WIDER = (0.05, 0.15, 0.25)
"""Metres around the regions in which things stand at first; the wider areas are for crowded scenes."""
TRIES = 200
LOOK, FLAT = 0.1, 0.005
"""From how high up a place is looked at, and what still counts as the workspace itself, in metres."""
DOWN = np.array([0.0, 0.0, -1.0])
GRID = 7
"""Places along each side of the area in use, where the workspace's height is sought."""
ROBOT, ROOM = "robot0_base", 0.25
"""The robot's foot, and how far around it nothing is put, in metres."""
RELATIONS = frozenset({"left", "right", "front", "back", "next", "between", "center"})
"""Words by which an instruction says where something is in relation to other things."""
THINGS = (
    "alphabet_soup",
    "bbq_sauce",
    "butter",
    "chocolate_pudding",
    "cookies",
    "cream_cheese",
    "glazed_rim_porcelain_ramekin",
    "ketchup",
    "macaroni_and_cheese",
    "milk",
    "orange_juice",
    "popcorn",
    "porcelain_mug",
    "red_coffee_mug",
    "salad_dressing",
    "tomato_sauce",
    "white_bowl",
)
"""LIBERO's categories of things that are small enough to stand anywhere."""

Vector = NDArray[np.float64]


def added_things(problem: Problem, instruction: str, rng: np.random.Generator, level: int) -> tuple[str, ...]:
    """Categories of the things to add, one a level: none is in the problem, or shares a word with the instruction.

    Args:
        problem: the plain problem.
        instruction: what the robot is asked to do.
        rng: makes the draws, which do not depend on the level.
        level: 1, 2 or 3.
    """
    meant = set(re.findall(r"\w+", instruction)) - {"and"}
    there = set(problem.objects.values())
    free = [category for category in THINGS if category not in there and not meant & set(category.split("_"))]
    return tuple(str(category) for category in rng.permutation(free)[:level])


def widen_state(model: Any, state: Vector, start: Vector, added: Sequence[str]) -> Vector:
    """A stored state of the plain problem as one of the problem with more things in it.

    Args:
        model: MjModel of the larger problem.
        state: float64 (1 + nq + nv,) time, positions and velocities of the plain problem.
        start: the same of the larger problem after its reset, from which the added things' poses are taken.
        added: names of the added things.

    Raises:
        ValueError: the state has another size than the plain problem.
    """
    positions, velocities = np.ones(model.nq, bool), np.ones(model.nv, bool)
    for name in added:
        joint = model.body_jntadr[model.body(f"{name}_main").id]
        positions[model.jnt_qposadr[joint] : model.jnt_qposadr[joint] + 7] = False
        velocities[model.jnt_dofadr[joint] : model.jnt_dofadr[joint] + 6] = False
    old = np.concatenate([[True], positions, velocities])
    if len(state) != old.sum():
        raise ValueError(
            f"the stored state has {len(state)} numbers and the scene {old.sum()}; they are of two problems"
        )
    wide = np.array(start, np.float64)
    wide[old] = state
    return wide


@dataclass(frozen=True)
class Scene:
    """A LIBERO scene at its plain start, the added things anywhere.

    Attributes:
        model: MjModel.
        data: MjData whose poses are up to date.
        problem: the plain problem.
        instruction: what the robot is asked to do.
        added: names of the added things.
        origin: (3,) where the workspace has its origin, in the world.
    """

    model: Any
    data: Any
    problem: Problem
    instruction: str
    added: tuple[str, ...]
    origin: Vector

    def footprint(self, name: str) -> Rectangle:
        """What a thing or fixture covers."""
        return footprint(self.model, self.data, self._body(name))

    def place(self, name: str) -> int:
        """Where a thing's pose begins among the positions."""
        return int(self.model.jnt_qposadr[self.model.body_jntadr[self._body(name)]])

    def region(self, name: str) -> Rectangle:
        """A part of the workspace, in the world."""
        return moved(self.problem.regions[name], self.origin[0], self.origin[1])

    def is_bare(self, square: Rectangle, height: float) -> bool:
        """Whether the workspace, at this height, lies open under a square's corners and middle."""
        x_low, y_low, x_high, y_high = square
        corners = [(x_low, y_low), (x_low, y_high), (x_high, y_low), (x_high, y_high)]
        spots = [*corners, ((x_low + x_high) / 2, (y_low + y_high) / 2)]
        return all(abs(self.height(x, y) - height) < FLAT for x, y in spots)

    def height(self, x: float, y: float) -> float:
        """Height of what lies under a spot a little above the workspace, in metres; it is low where nothing does."""
        eye = np.array([x, y, self.origin[2] + LOOK])
        depth = mujoco.mj_ray(self.model, self.data, eye, DOWN, None, 1, -1, np.zeros(1, np.int32))
        return float(eye[2] - depth) if depth >= 0 else -np.inf

    def _body(self, name: str) -> int:
        return int(self.model.body(f"{name}_main").id)


def rearrange(scene: Scene, rng: np.random.Generator, level: int) -> Vector:
    """Move the things on the workspace, and bring the added ones there.

    Things told apart by their names move each a way of its own, with what stands on them. Where the instruction says
    where something is in relation to others, all move the same way, half as far. Where the goal is a place on the
    workspace, nothing moves, and the way there stays free. What stands on or in a fixture stays. A thing without room
    to move stays.

    Returns:
        float64 (nq,) positions.

    Raises:
        ValueError: there is no room for an added thing.
    """
    problem, stacks = scene.problem, _stacks(scene.problem)
    fixed = [scene.footprint(name) for name in problem.fixtures]
    prints = {name: scene.footprint(name) for name in problem.objects}
    goals = [relation for relation in problem.goal if relation[-1] in problem.regions]
    if goals:
        moves: list[list[str]] = []
    elif RELATIONS & set(scene.instruction.split()):
        moves, most = [[name for stack in stacks for name in stack]], COMMON_SHIFT[level - 1]
    else:
        moves, most = stacks, SHIFT[level - 1]
    positions = np.array(scene.data.qpos)
    for names in moves:
        rest = [*fixed, *(prints[name] for name in prints if name not in names)]
        way = _free_way([prints[name] for name in names], rest, most, rng)
        for name in names:
            positions[scene.place(name) : scene.place(name) + 2] += way
            prints[name] = moved(prints[name], way[0], way[1])
    x, y, _ = scene.data.body(ROBOT).xpos
    robot = (x - ROOM, y - ROOM, x + ROOM, y + ROOM)
    ways = [around([prints[relation[1]], scene.region(relation[-1])]) for relation in goals]
    taken = [*fixed, *prints.values(), *ways, robot]
    used = around(scene.region(relation[-1]) for relation in problem.init if relation[-1] in problem.regions)
    for name in scene.added:
        x_low, y_low, x_high, y_high = scene.footprint(name)
        half = float(np.hypot(x_high - x_low, y_high - y_low)) / 2  # whatever way it is turned
        square = _free_square(scene, half, taken, used, rng)
        if square is None:
            raise ValueError(
                f"perturbation 'layout', level {level}: no room for '{name}' in '{scene.instruction}'; "
                "use a lower level or another seed"
            )
        taken.append(square)
        turn, turned, start = np.empty(4), np.empty(4), scene.place(name)
        mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), rng.uniform(-np.pi, np.pi))
        mujoco.mju_mulQuat(turned, turn, positions[start + 3 : start + 7])
        positions[start : start + 2] = square[0] + half, square[1] + half
        positions[start + 3 : start + 7] = turned
    return positions


def _stacks(problem: Problem) -> list[list[str]]:
    """Things that stand on the workspace, each with what stands on it."""
    supports = problem.supports()
    stacks = {name: [name] for name, support in supports.items() if support == problem.workspace}
    for name, support in supports.items():
        if support in stacks:
            stacks[support].append(name)
    return list(stacks.values())


def _free_square(
    scene: Scene, half: float, taken: Sequence[Rectangle], used: Rectangle, rng: np.random.Generator
) -> Rectangle | None:
    """A square of the workspace with nothing on it or near it; None when there seems to be none."""
    spots = [np.linspace(used[side], used[side + 2], GRID) for side in (0, 1)]
    height = min(scene.height(x, y) for x in spots[0] for y in spots[1])
    for wider in WIDER:
        for _ in range(TRIES):
            x, y = rng.uniform(np.array(used[:2]) - wider, np.array(used[2:]) + wider)
            square = (x - half, y - half, x + half, y + half)
            if all(gap(square, other) >= APART for other in taken) and scene.is_bare(square, height):
                return square
    return None


def _free_way(prints: Sequence[Rectangle], rest: Sequence[Rectangle], most: float, rng: np.random.Generator) -> Vector:
    """(2,) a way that brings none of the prints too close to the rest; no way at all when none is found."""
    for _ in range(TRIES):
        angle, length = rng.uniform(0, 2 * np.pi), most * rng.uniform(0.75, 1.0)
        way = length * np.array([np.cos(angle), np.sin(angle)])
        pairs = ((one, other) for one in prints for other in rest)
        if all(gap(moved(one, way[0], way[1]), other) >= min(gap(one, other), CLOSE) for one, other in pairs):
            return way
    return np.zeros(2)
