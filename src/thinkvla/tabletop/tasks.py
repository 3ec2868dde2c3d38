"""What a task is: scenes to try it in, each with its goal; and when a scene counts as solved."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from thinkvla.tabletop.scene import TABLE, SceneSpec
from thinkvla.tabletop.state import SceneState

ARM = "arm"
GRIPPER = "gripper"
STILL = 0.03
"""Metres per second below which an object counts as at rest."""


@dataclass(frozen=True)
class Contacts:
    """What touches what, and how fast things move.

    Attributes:
        pairs: unordered pairs of names: things, ``table``, ``arm`` and ``gripper``.
        speeds: movable object → speed of its centre, metres per second.
    """

    pairs: frozenset[frozenset[str]]
    speeds: Mapping[str, float]

    def touched_by(self, name: str) -> frozenset[str]:
        """Names of everything in contact with ``name``."""
        return frozenset(other for pair in self.pairs if name in pair for other in pair if other != name)


@dataclass(frozen=True)
class Task:
    """Put one thing into or onto another; which, each scene says.

    Attributes:
        suite: name of the suite it belongs to.
        name: identifier, unique in its suite.
        sample: draws a scene from a random generator.
        max_steps: control steps after which an episode ends without success.
    """

    suite: str
    name: str
    sample: Callable[[np.random.Generator], SceneSpec]
    max_steps: int = 80

    def rng(self, seed: int, stream: int) -> np.random.Generator:
        """A random generator of its own for every task, seed and use (``stream``)."""
        return np.random.default_rng([zlib.crc32(f"{self.suite}/{self.name}".encode()), seed, stream])

    def scene(self, seed: int) -> SceneSpec:
        """The scene of a seed: always the same for one task and seed."""
        return self.sample(self.rng(seed, stream=0))


def solved(scene: SceneSpec, state: SceneState, contacts: Contacts) -> bool:
    """Whether the target lies in its container: let go, off table and robot, and at rest."""
    target, container = state.object(scene.target), state.object(scene.container)
    touching = contacts.touched_by(scene.target)
    if scene.container not in touching or touching & {TABLE, ARM, GRIPPER}:
        return False
    offset = container.rotation.T @ (target.position - container.position)
    inside = bool((np.abs(offset[:2]) < container.half_size[:2]).all())
    return inside and contacts.speeds[scene.target] < STILL
