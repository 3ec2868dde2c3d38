"""How spatial questions are decided: thresholds for a tabletop, and abstention near them.

Every rule takes entities in the view frame and returns the index of the right answer, or None when it is
too close to call. Cosines are between 3D vectors; distances are between centres, metres.
"""

from __future__ import annotations

import numpy as np

from thinkvla.tabletop.questions.view import Entity
from thinkvla.tabletop.state import Vector

HEIGHT_MARGIN = 0.02
DISTANCE_MARGIN = 0.03
NEXT_TO, FAR_AWAY = 0.10, 0.16
ABOVE, NOT_ABOVE = 0.03, 0.06
SIDE_COSINE, SIDE_MARGIN = 0.3, 0.2
FACING_COSINE = 0.7
PARALLEL, PERPENDICULAR = 0.85, 0.35
SAME, DIFFERENT = 0.8, 0.0
# Quoted numbers are multiples of 0.01: one that equals a threshold must not fail by a float's rounding error.
SLACK = 1e-9


def distance(a: Entity, b: Entity) -> float:
    """Distance between two centres, metres."""
    return float(np.linalg.norm(a.location - b.location))


def offset(a: Entity, b: Entity) -> tuple[float, float]:
    """Horizontal distance between ``a`` and ``b``, and the height of ``a`` above ``b``, metres."""
    left, up, forward = a.location - b.location
    return float(np.hypot(left, forward)), float(up)


def cosine(u: Vector | None, v: Vector | None) -> float:
    """Cosine of the angle between two vectors (3,); 0 when one has no length."""
    assert u is not None, "the category asks for entities with a front"
    assert v is not None, "the category asks for entities with a front"
    lengths = float(np.linalg.norm(u) * np.linalg.norm(v))
    return float(u @ v) / lengths if lengths > 0 else 0.0


def larger(first: float, second: float, margin: float) -> int | None:
    """0 or 1, whichever value is larger by at least the margin."""
    if abs(first - second) < margin - SLACK:
        return None
    return 0 if first > second else 1


def threshold(value: float, high: float, low: float) -> int | None:
    """0 at or above ``high``, 1 at or below ``low``."""
    if value >= high - SLACK:
        return 0
    return 1 if value <= low + SLACK else None


def higher(a: Entity, b: Entity) -> int | None:
    """Whether ``a`` (0) or ``b`` (1) is higher."""
    return larger(a.location[1], b.location[1], HEIGHT_MARGIN)


def above(a: Entity, b: Entity) -> int | None:
    """0 when ``a`` is straight above ``b``; 1 when it is off to the side or below."""
    sideways, up = offset(a, b)
    if sideways <= ABOVE + SLACK and up >= HEIGHT_MARGIN - SLACK:
        return 0
    return 1 if sideways >= NOT_ABOVE - SLACK or up <= SLACK - HEIGHT_MARGIN else None


def closer_to_camera(a: Entity, b: Entity) -> int | None:
    """Whether ``a`` (0) or ``b`` (1) is closer to the camera."""
    return larger(float(np.linalg.norm(b.location)), float(np.linalg.norm(a.location)), DISTANCE_MARGIN)


def next_to(a: Entity, b: Entity) -> int | None:
    """Whether two things are far from each other (0) or next to each other (1)."""
    return threshold(distance(a, b), FAR_AWAY, NEXT_TO)


def in_front(a: Entity, b: Entity) -> int | None:
    """Whether ``a`` is in front of ``b`` (0) or behind it (1), as ``b`` is turned."""
    return threshold(cosine(b.front, a.location - b.location), SIDE_COSINE, -SIDE_COSINE)


def on_left(a: Entity, b: Entity) -> int | None:
    """Whether ``a`` is on the left (0) or right (1) of ``b``, as ``b`` is turned."""
    return threshold(cosine(b.left, a.location - b.location), SIDE_COSINE, -SIDE_COSINE)


def side(a: Entity, towards: Vector) -> int | None:
    """Which side of ``a`` (0 front, 1 back, 2 left, 3 right) clearly points along ``towards``."""
    front, left = cosine(a.front, towards), cosine(a.left, towards)
    cosines = np.array([front, -front, left, -left])
    second, best = np.sort(cosines)[-2:]
    if best < SIDE_COSINE - SLACK or best - second < SIDE_MARGIN - SLACK:
        return None
    return int(np.argmax(cosines))


def side_to_camera(a: Entity) -> int | None:
    """Which side of ``a`` faces the camera; as :func:`side`."""
    return side(a, -a.location)


def side_to_object(a: Entity, b: Entity) -> int | None:
    """Which side of ``a`` faces ``b``; as :func:`side`."""
    return side(a, b.location - a.location)


def closer_to(a: Entity, b: Entity, c: Entity) -> int | None:
    """Whether ``b`` (0) or ``c`` (1) is closer to ``a``."""
    return larger(distance(a, c), distance(a, b), DISTANCE_MARGIN)


def facing(a: Entity, b: Entity, c: Entity) -> int | None:
    """Whether ``a`` faces ``b`` (0) or ``c`` (1)."""
    first, second = (cosine(a.front, other.location - a.location) for other in (b, c))
    return larger(first, second, SIDE_MARGIN) if max(first, second) >= FACING_COSINE - SLACK else None


def parallel(a: Entity, b: Entity) -> int | None:
    """Whether the fronts of two things are parallel (0), either way round, or perpendicular (1)."""
    return threshold(abs(cosine(a.front, b.front)), PARALLEL, PERPENDICULAR)


def same_direction(a: Entity, b: Entity) -> int | None:
    """Whether two things face the same (0) or very different (1) directions."""
    return threshold(cosine(a.front, b.front), SAME, DIFFERENT)
