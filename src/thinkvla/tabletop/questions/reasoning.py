"""The reasoning of spatial answers: which numbers are quoted, and what follows from them.

Every function takes entities whose numbers are already rounded as quoted, so that each derived quantity can
be recomputed from the text before it. Vocabulary and length are kept small, for small language models.
"""

from __future__ import annotations

import numpy as np

from thinkvla.tabletop.questions.rules import cosine, distance, offset
from thinkvla.tabletop.questions.view import Entity
from thinkvla.tabletop.state import Vector


def number(value: float) -> str:
    """Two decimals, and never a negative zero."""
    return f"{round(float(value), 2) + 0.0:.2f}"


def _triple(values: Vector | None) -> str:
    assert values is not None, "the category asks for entities with a front"
    return f"({', '.join(number(v) for v in values)})"


def _locations(*entities: Entity) -> str:
    return " ".join(f"The 3D location of the {e.label} is {_triple(e.location)}." for e in entities)


def _direction(a: Entity, side: str) -> str:
    return f"The {side} direction of the {a.label} is {_triple(a.front if side == 'front' else a.left)}."


def _vector(start: Entity, end: str, values: Vector) -> str:
    return f"The vector from the {start.label} to the {end} is {_triple(values)}."


def _similarity(value: float) -> str:
    # The angle follows from the cosine as quoted: one can be checked against the other.
    angle = np.degrees(np.arccos(np.clip(round(value, 2), -1, 1)))
    return f"Their cosine similarity is {number(value)}, corresponding to an angle of {number(angle)} degrees."


def heights(a: Entity, b: Entity) -> str:
    """Locations, and the heights among them."""
    first, second = number(a.location[1]), number(b.location[1])
    return f"{_locations(a, b)} The height of the {a.label} is {first} and of the {b.label} {second}."


def offsets(a: Entity, b: Entity) -> str:
    """Locations, horizontal distance and difference in height."""
    sideways, up = offset(a, b)
    height = f"{number(abs(up))} meters {'higher' if up >= 0 else 'lower'}"
    return f"{_locations(a, b)} The {a.label} is {number(sideways)} meters to the side and {height}."


def camera_distances(a: Entity, b: Entity) -> str:
    """Locations and distances to the camera."""
    first, second = (number(float(np.linalg.norm(e.location))) for e in (a, b))
    return f"{_locations(a, b)} Their distances to the camera are {first} and {second} meters."


def one_distance(a: Entity, b: Entity) -> str:
    """Locations and the distance between them."""
    return f"{_locations(a, b)} The distance between them is {number(distance(a, b))} meters."


def two_distances(a: Entity, b: Entity, c: Entity) -> str:
    """Locations, and the distances from ``a`` to the other two."""
    first, second = number(distance(a, b)), number(distance(a, c))
    steps = f"The distance from the {a.label} to the {b.label} is {first} and to the {c.label} {second} meters."
    return f"{_locations(a, b, c)} {steps}"


def against_front(a: Entity, b: Entity) -> str:
    """Locations, and the angle between the front of ``b`` and the way to ``a``."""
    way = a.location - b.location
    steps = f"{_vector(b, a.label, way)} {_direction(b, 'front')}"
    return f"{_locations(a, b)} {steps} {_similarity(cosine(b.front, way))}"


def against_left(a: Entity, b: Entity) -> str:
    """Locations, and the angle between the left of ``b`` and the way to ``a``."""
    way = a.location - b.location
    steps = f"{_vector(b, a.label, way)} {_direction(b, 'left')}"
    return f"{_locations(a, b)} {steps} {_similarity(cosine(b.left, way))}"


def sides_to_camera(a: Entity) -> str:
    """Location, and the cosines of front and left with the way to the camera."""
    return f"{_locations(a)} {_sides(a, 'camera', -a.location)}"


def sides_to_object(a: Entity, b: Entity) -> str:
    """Locations, and the cosines of front and left of ``a`` with the way to ``b``."""
    return f"{_locations(a, b)} {_sides(a, b.label, b.location - a.location)}"


def _sides(a: Entity, end: str, way: Vector) -> str:
    front, left = number(cosine(a.front, way)), number(cosine(a.left, way))
    steps = f"{_vector(a, end, way)} {_direction(a, 'front')} {_direction(a, 'left')}"
    return f"{steps} The cosine similarity is {front} with the front and {left} with the left direction."


def front_towards(a: Entity, b: Entity, c: Entity) -> str:
    """Locations, and the cosines between the front of ``a`` and the ways to the other two."""
    first, second = (number(cosine(a.front, other.location - a.location)) for other in (b, c))
    steps = f"Its cosine similarity is {first} with the vector to the {b.label} and {second} with the vector"
    return f"{_locations(a, b, c)} {_direction(a, 'front')} {steps} to the {c.label}."


def between_fronts(a: Entity, b: Entity) -> str:
    """Both front directions and the angle between them."""
    return f"{_direction(a, 'front')} {_direction(b, 'front')} {_similarity(cosine(a.front, b.front))}"
