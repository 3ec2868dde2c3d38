"""Other layouts of a scene that keep its goal: things moved, and things added that the instruction does not mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from thinkvla.tabletop.placement import AREA, GAP, RAISED_AREA, RAISED_GAP, Stack, alone, hides
from thinkvla.tabletop.scene import SceneSpec, ThingSpec
from thinkvla.tabletop.shapes import COLOURS, SHAPES

WIDER = 0.04
"""Metres by which things without a pedestal may stand beyond the usual area, on every side."""
SHIFT = (0.03, 0.06, 0.09)
"""Most metres by which things move a way of their own at each level; they move at least three quarters of it."""
COMMON_SHIFT = (0.015, 0.030, 0.045)
"""The same where all move together: what a relation calls nearest to the robot is so by 0.06 m, and stays so."""
CLOSE = 0.012
"""Free table between two things neither of which is target or container, metres: the hand goes to neither."""
_TRIES = 200


def rearrange(scene: SceneSpec, rng: np.random.Generator, level: int) -> SceneSpec:
    """Move the things and add ``level`` others.

    Where the instruction names target and container by colour and shape, everything that stands on the table moves a
    way of its own. Where it says which thing by its relation to others, all move the same way, so that the words stay
    true. What stands on something moves with it. Added things have a shape that the instruction does not name.

    Raises:
        RuntimeError: no place was found; the scene is too crowded.
    """
    stacks = _stacks(scene.things)
    for _ in range(_TRIES):
        if _named(scene):
            moved: list[Stack] | None = _each(stacks, scene, SHIFT[level - 1], rng)
        else:
            moved = _all(stacks, COMMON_SHIFT[level - 1], rng)
        added = None if moved is None else _others(moved, scene, level, rng)
        if moved is not None and added is not None:
            order = {thing.name: place for place, thing in enumerate(scene.things)}
            things = sorted((thing for stack in moved for thing in stack), key=lambda thing: order[thing.name])
            return replace(scene, things=(*things, *added))
    raise RuntimeError(
        f"layout of the scene '{scene.instruction}' with {len(scene.things)} things: no room to move them and add "
        f"{level}; use fewer things"
    )


def _named(scene: SceneSpec) -> bool:
    """Whether the instruction gives target and container by their names alone."""
    return scene.instruction in (f"put the {scene.target} {where} the {scene.container}" for where in ("in", "on"))


def _stacks(things: Sequence[ThingSpec]) -> list[Stack]:
    """Things that stand on the table, each with what stands on it."""
    stacks = {thing.name: [thing] for thing in things if thing.base == 0}
    for thing in things:
        if thing.base > 0:
            min(stacks.values(), key=lambda stack: np.hypot(stack[0].x - thing.x, stack[0].y - thing.y)).append(thing)
    return [tuple(stack) for stack in stacks.values()]


def _each(stacks: Sequence[Stack], scene: SceneSpec, shift: float, rng: np.random.Generator) -> list[Stack]:
    """Every stack moved a way of its own; one that finds no room stays where it is."""
    now = list(stacks)
    for index, stack in enumerate(stacks):
        rest = [*now[:index], *now[index + 1 :]]
        tried = (_moved(stack, _step(shift, rng)) for _ in range(20))
        now[index] = next((place for place in tried if _free(place, rest, scene)), stack)
    return now


def _all(stacks: Sequence[Stack], shift: float, rng: np.random.Generator) -> list[Stack] | None:
    """All stacks moved the same way; None when that leads one too far."""
    step = _step(shift, rng)
    moved = [_moved(stack, step) for stack in stacks]
    return moved if all(map(_within, moved)) else None


def _others(stacks: Sequence[Stack], scene: SceneSpec, count: int, rng: np.random.Generator) -> list[ThingSpec] | None:
    """``count`` more things to pick up; None when one finds no place."""
    shapes = [name for name, shape in SHAPES.items() if shape.movable and name not in scene.instruction.split()]
    colours = [colour for colour in COLOURS if colour != "clear"]
    names = {thing.name for thing in scene.things}
    added: list[Stack] = []
    for _ in range(_TRIES):
        if len(added) == count:
            return [thing for (thing,) in added]
        (thing,) = alone(f"{rng.choice(colours)} {rng.choice(shapes)}")
        x, y = (float(rng.uniform(low - WIDER, high + WIDER)) for low, high in AREA)
        stack = (replace(thing, x=x, y=y, yaw=float(rng.uniform(-np.pi, np.pi))),)
        if thing.name not in names and _free(stack, [*stacks, *added], scene):
            added.append(stack)
            names.add(thing.name)
    return None


def _step(length: float, rng: np.random.Generator) -> tuple[float, float]:
    angle, way = rng.uniform(0, 2 * np.pi), length * rng.uniform(0.75, 1.0)
    return float(way * np.cos(angle)), float(way * np.sin(angle))


def _moved(stack: Stack, step: tuple[float, float]) -> Stack:
    return tuple(replace(thing, x=thing.x + step[0], y=thing.y + step[1]) for thing in stack)


def _within(stack: Stack) -> bool:
    """Whether a stack stands where the robot reaches it and the camera sees it."""
    area = AREA if len(stack) == 1 else RAISED_AREA
    wider = 0.0 if stack[0].shape == "pedestal" else WIDER
    places = zip(area, (stack[0].x, stack[0].y), strict=True)
    return all(low - wider <= place <= high + wider for (low, high), place in places)


def _free(stack: Stack, others: Sequence[Stack], scene: SceneSpec) -> bool:
    """Whether a stack is within reach, none of the others is in its way, and neither hides the other."""
    return _within(stack) and all(
        _apart(stack, other, scene) and not hides(stack, other) and not hides(other, stack) for other in others
    )


def _apart(one: Stack, other: Stack, scene: SceneSpec) -> bool:
    """Whether two stacks are so far apart that the hand has room where it must reach between."""
    if not {scene.target, scene.container} & {one[-1].name, other[-1].name}:
        gap = CLOSE
    else:
        gap = GAP if len(one) == len(other) == 1 else RAISED_GAP
    radii = (max(thing.radius for thing in stack) for stack in (one, other))
    return bool(np.hypot(one[0].x - other[0].x, one[0].y - other[0].y) - sum(radii) >= gap)
