"""Ground truth of one moment of a LIBERO scene, free of the simulator: what experts and questions read.

World frame: LIBERO's own. Metres; +x forward from the robot over the table, +y to the robot's left, +z up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_CORNERS = np.array(list(product((0, 1), repeat=3)), dtype=bool)


@dataclass(frozen=True)
class Thing:
    """An object, a fixture, or a moving part of a fixture.

    Attributes:
        name: as in the task's BDDL file (``alphabet_soup_1``); a part's is its body's (``…_cabinet_top``).
        category: LIBERO's word for its kind (``alphabet_soup``); a part has its fixture's name.
        position: (3,) its body's origin, metres, world frame.
        rotation: (3, 3) columns are its axes in the world frame.
        low: (3,) lower corner of the bounding box of what collides, in its own frame, metres.
        high: (3,) upper corner.
        movable: whether it lies free; False for fixtures and their parts.
        part: whether it is a part of a fixture.
        solids: (K, 2, 3) lower and upper corners of what it is made of, in its own frame, metres; of fixtures and their
            parts alone: an object counts as its bounding box.
    """

    name: str
    category: str
    position: Vector
    rotation: Vector
    low: Vector
    high: Vector
    movable: bool
    part: bool = False
    solids: Vector = field(default_factory=lambda: np.zeros((0, 2, 3)))

    @property
    def corners(self) -> Vector:
        """(8, 3) corners of its bounding box, world frame."""
        corners: Vector = self.position + np.where(_CORNERS, self.high, self.low) @ self.rotation.T
        return corners

    @property
    def centre(self) -> Vector:
        """(3,) middle of its bounding box, world frame."""
        centre: Vector = self.position + self.rotation @ ((self.low + self.high) / 2)
        return centre

    def hit(self, points: Vector, margin: float) -> NDArray[np.bool_]:
        """Which of the points (N, 3) lie in it or within about ``margin`` metres."""
        local = (points - self.position) @ self.rotation
        boxes = self.solids if len(self.solids) else np.stack([self.low, self.high])[None]
        inside = (local[:, None] > boxes[:, 0] - margin) & (local[:, None] < boxes[:, 1] + margin)
        hit: NDArray[np.bool_] = np.any(np.all(inside, axis=2), axis=1)
        return hit

    @property
    def top(self) -> float:
        """Height of its highest corner."""
        return float(self.corners[:, 2].max())

    @property
    def underside(self) -> float:
        """Height of its lowest corner."""
        return float(self.corners[:, 2].min())


@dataclass(frozen=True)
class Region:
    """A named place that goals speak of: in a container, on a surface, on the table.

    Attributes:
        name: as in the BDDL file (``basket_1_contain_region``).
        parent: the thing it belongs to; empty for a place on the table.
        position: (3,) its middle, metres, world frame.
        rotation: (3, 3) columns are its axes in the world frame.
        half_size: (3,) half extents along its own axes, metres.
    """

    name: str
    parent: str
    position: Vector
    rotation: Vector
    half_size: Vector


@dataclass(frozen=True)
class Goal:
    """One of the conditions that make up a task: all of them must hold.

    Attributes:
        predicate: ``in``, ``on``, ``open``, ``close`` or ``turnon``.
        arguments: names of things and regions.
        done: whether it holds now.
    """

    predicate: str
    arguments: tuple[str, ...]
    done: bool


@dataclass(frozen=True)
class Hand:
    """The robot's hand.

    Attributes:
        position: (3,) point between the finger tips, metres, world frame.
        rotation: (3, 3) columns are its axes in the world frame: x along the fingers' travel, z out of the palm.
        opening: distance between the fingers, metres.
        holding: things that both fingers touch.
    """

    position: Vector
    rotation: Vector
    opening: float
    holding: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """Everything at one moment.

    Attributes:
        hand: the robot's hand.
        things: objects, fixtures and moving parts of fixtures.
        regions: places that goals may name.
        joints: joint of a fixture → its position, metres or radians.
        goals: the task.
        base: (3,) the robot's base, metres, world frame.
    """

    hand: Hand
    things: tuple[Thing, ...]
    regions: tuple[Region, ...]
    joints: Mapping[str, float]
    goals: tuple[Goal, ...]
    base: Vector

    def thing(self, name: str) -> Thing:
        """The thing of that name; raises KeyError naming those that exist."""
        thing: Thing = _named(name, self.things)
        return thing

    def region(self, name: str) -> Region:
        """The region of that name; raises KeyError naming those that exist."""
        region: Region = _named(name, self.regions)
        return region

    def has_region(self, name: str) -> bool:
        """Whether there is a region of that name."""
        return any(region.name == name for region in self.regions)

    def to_plain(self) -> dict[str, Any]:
        """As nested dictionaries, lists, numbers and text, for a message or a file; :meth:`from_plain` reads it."""
        values: dict[str, Any] = _plain(asdict(self))
        return values

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> Truth:
        """The inverse of :meth:`to_plain`; raises ValueError for missing or unknown keys."""
        wrong = sorted(set(values) ^ {field.name for field in fields(Truth)})
        if wrong:
            raise ValueError(
                f"LIBERO ground truth: keys {wrong} are missing or unknown; it was made by another version"
            )
        return Truth(
            hand=Hand(**_arrays(values["hand"]) | {"holding": tuple(values["hand"]["holding"])}),
            things=tuple(_thing(thing) for thing in values["things"]),
            regions=tuple(Region(**_arrays(region)) for region in values["regions"]),
            joints=dict(values["joints"]),
            goals=tuple(Goal(g["predicate"], tuple(g["arguments"]), g["done"]) for g in values["goals"]),
            base=np.array(values["base"]),
        )


def _named(name: str, candidates: tuple[Any, ...]) -> Any:
    for candidate in candidates:
        if candidate.name == name:
            return candidate
    raise KeyError(f"no '{name}' in the scene; it has {[c.name for c in candidates]}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _thing(values: Mapping[str, Any]) -> Thing:
    return Thing(**_arrays(values) | {"solids": np.array(values["solids"]).reshape(-1, 2, 3)})


def _arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: np.array(item) if isinstance(item, list) else item for key, item in values.items()}
