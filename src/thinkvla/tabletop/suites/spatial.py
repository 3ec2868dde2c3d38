"""Suite ``spatial``: which one is meant only its place tells.

An instruction names two or three things alike, or two containers, by shape and singles one out by where it stands; see
``relations.py`` for what the words mean. Colours are drawn anew for each scene, and no instruction says them. Things
that a relation refers to have no front of their own, so that "left of the ball" has one meaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thinkvla.tabletop.placement import alone, place, random_start
from thinkvla.tabletop.scene import SceneSpec, ThingSpec
from thinkvla.tabletop.shapes import SHAPES
from thinkvla.tabletop.suites.common import OTHERS, instruction, task_name
from thinkvla.tabletop.suites.relations import (
    BEHIND,
    BETWEEN_TWO,
    FARTHEST,
    IN_FRONT,
    LEFT,
    NEAREST,
    RIGHT,
    Relation,
)
from thinkvla.tabletop.tasks import Task

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "white")
CONTAINERS = ("plate", "bowl", "tray", "box")
OBJECTS = tuple(name for name, shape in SHAPES.items() if shape.movable)


@dataclass(frozen=True)
class _Goal:
    """What the ten instructions say.

    Attributes:
        target: shape of the thing to move.
        container: shape of where it goes.
        relation: how one of several is singled out.
        references: shapes the relation refers to; ``robot`` is the robot.
        which: the shape of which there are several: the target's or the container's.
    """

    target: str
    container: str
    relation: Relation
    references: tuple[str, ...]
    which: str

    @property
    def instruction(self) -> str:
        """What the robot is told."""
        told = f"{self.which} {self.relation.words} {' and '.join(f'the {name}' for name in self.references)}"
        target = told if self.which == self.target else self.target
        container = told if self.which == self.container else self.container
        return instruction(target, container, self.container)

    def sample(self, rng: np.random.Generator) -> SceneSpec:
        """A scene in which the relation singles out one thing."""
        shapes = self._shapes(rng)
        stacks = []
        for shape, count in Counter(shapes).items():  # a colour once for each shape, so that names are unique
            stacks += [alone(f"{colour} {shape}") for colour in rng.choice(COLOURS, size=count, replace=False)]
        things = place(stacks, rng, lambda layout: self._chosen(layout) is not None)
        chosen = self._chosen(things)
        assert chosen is not None, "place returns what was accepted"
        target, container = (
            chosen if self.which == shape else next(thing for thing in things if thing.shape == shape)
            for shape in (self.target, self.container)
        )
        return SceneSpec(things, self.instruction, target.name, container.name, robot=random_start(rng))

    def _shapes(self, rng: np.random.Generator) -> list[str]:
        """Shapes of a scene's two containers and four objects, containers first."""
        containers = [self.container, *(name for name in self.references if name in CONTAINERS)]
        if len(containers) == 1:
            rest = [name for name in CONTAINERS if name != self.container]
            containers.append(self.container if self.which == self.container else str(rng.choice(rest)))
        objects = [self.target, *(name for name in self.references if name in OBJECTS)]
        rest = [name for name in OBJECTS if name not in objects]
        if self.which == self.target:
            objects += [self.target] * int(rng.integers(1, min(2, 1 + OTHERS - len(objects)) + 1))
        return containers + objects + [str(name) for name in rng.permutation(rest)[: 1 + OTHERS - len(objects)]]

    def _chosen(self, things: Sequence[ThingSpec]) -> ThingSpec | None:
        candidates = [thing for thing in things if thing.shape == self.which]
        references = [thing for name in self.references for thing in things if thing.shape == name]
        return self.relation.choose(candidates, references)


_GOALS = (
    _Goal("cube", "plate", LEFT, ("ball",), which="cube"),
    _Goal("cube", "plate", RIGHT, ("ball",), which="cube"),
    _Goal("car", "tray", IN_FRONT, ("cylinder",), which="car"),
    _Goal("cylinder", "box", BEHIND, ("ball",), which="cylinder"),
    _Goal("ball", "bowl", NEAREST, ("plate",), which="ball"),
    _Goal("cube", "tray", FARTHEST, ("bowl",), which="cube"),
    _Goal("ball", "box", NEAREST, ("robot",), which="ball"),
    _Goal("cube", "plate", BETWEEN_TWO, ("ball", "cylinder"), which="cube"),
    _Goal("mug", "bowl", RIGHT, ("cylinder",), which="bowl"),
    _Goal("car", "plate", NEAREST, ("ball",), which="plate"),
)


def _task(goal: _Goal) -> Task:
    return Task("spatial", task_name(goal.instruction), goal.sample)


TASKS: tuple[Task, ...] = tuple(map(_task, _GOALS))
