"""Which of several things a relation singles out: "the cube left of the ball", "the plate nearest to the car".

Left, right, in front and behind are as the front camera sees it from across the table: left in its picture is the
robot's right (−y), in front is nearer to the camera (+x). Distances are between centres, on the table.

A relation holds only by a margin, and for one candidate only; every other misses it by the margin too. At MARGIN
perspective, which moves a thing sideways by up to 0.036 m over the depth of the table, cannot reverse left and right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from thinkvla.tabletop.scene import ThingSpec

MARGIN = 0.06
"""Metres to a reference's side, or by which a distance is the shortest or longest."""
BETWEEN = (0.3, 0.7)
"""Share of the way from one reference to the other within which a thing is between them."""
NOT_BETWEEN = (-0.1, 1.1)
"""Share outside which it clearly is not."""
BETWEEN_ASIDE = 0.035
"""Metres beside the straight line up to which a thing is between."""
NOT_BETWEEN_ASIDE = 0.09
"""Metres beside it from which it clearly is not."""

Things = Sequence[ThingSpec]


@dataclass(frozen=True)
class Relation:
    """A way to say which one.

    Attributes:
        words: between the candidates' and the references' names, e.g. ``left of``.
        holds: for a candidate, the other candidates and the references: clearly true, clearly false, or None.
    """

    words: str
    holds: Callable[[ThingSpec, Things, Things], bool | None]

    def choose(self, candidates: Things, references: Things) -> ThingSpec | None:
        """The only candidate for which the relation holds; None when that is unclear of any, or true of none or two."""
        chosen = []
        for candidate in candidates:
            answer = self.holds(candidate, [other for other in candidates if other is not candidate], references)
            if answer is None:
                return None
            if answer:
                chosen.append(candidate)
        return chosen[0] if len(chosen) == 1 else None


def _clearly(value: float) -> bool | None:
    return None if abs(value) < MARGIN else value > 0


def _aside(direction: tuple[int, int], thing: ThingSpec, others: Things, references: Things) -> bool | None:
    """Whether a thing is on the side of the reference to which ``direction`` (x, y) points."""
    (reference,) = references
    return _clearly(float(np.dot(direction, (thing.x - reference.x, thing.y - reference.y))))


def _most(sign: int, thing: ThingSpec, others: Things, references: Things) -> bool | None:
    """Whether a thing is nearest to the reference, or to the robot where there is none; farthest with sign −1."""
    x, y = (references[0].x, references[0].y) if references else (0.0, 0.0)
    distance, *more = (float(np.hypot(one.x - x, one.y - y)) for one in (thing, *others))
    return _clearly(min(sign * other for other in more) - sign * distance)


def _between(thing: ThingSpec, others: Things, references: Things) -> bool | None:
    """Whether a thing lies on the way from one reference to the other."""
    start, end = (np.array([one.x, one.y]) for one in references)
    way = end - start
    offset = np.array([thing.x, thing.y]) - start
    share, aside = float(offset @ way / (way @ way)), abs(offset[0] * way[1] - offset[1] * way[0]) / np.linalg.norm(way)
    if BETWEEN[0] <= share <= BETWEEN[1] and aside <= BETWEEN_ASIDE:
        return True
    clear = aside >= NOT_BETWEEN_ASIDE or not NOT_BETWEEN[0] <= share <= NOT_BETWEEN[1]
    return False if clear else None


LEFT = Relation("left of", partial(_aside, (0, -1)))
RIGHT = Relation("right of", partial(_aside, (0, 1)))
IN_FRONT = Relation("in front of", partial(_aside, (1, 0)))
BEHIND = Relation("behind", partial(_aside, (-1, 0)))
NEAREST = Relation("nearest to", partial(_most, 1))
FARTHEST = Relation("farthest from", partial(_most, -1))
BETWEEN_TWO = Relation("between", _between)
