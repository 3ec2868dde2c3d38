"""Picture-only questions: names, counts, captions and places; nothing metric, no depth.

They stand in for LLaVA-style rows, so that a model trained on them differs from one trained on spatial rows
only in the questions it saw. Places are shares of the picture's width and height.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import TypeVar

import numpy as np

from thinkvla.tabletop.questions.view import in_picture, is_seen, may_show
from thinkvla.tabletop.state import ObjectState, SceneState, Vector

T = TypeVar("T")

# Things are left and right of (or above and below) each other when this share of the picture lies between.
APART = 0.12
# A place in the three-by-three grid is told when it is at least this far from the grid's lines.
OFF_LINE = 0.04
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "centre", "right")


@dataclass(frozen=True)
class GeneralRow:
    """One question about the picture.

    Attributes:
        question: the question.
        answer: a short answer.
        category: a key of ``CATEGORIES``.
    """

    question: str
    answer: str
    category: str


@dataclass(frozen=True)
class Picture:
    """What one camera shows.

    Attributes:
        seen: objects whose centres are in the picture; at least one.
        places: (N, 2) their columns and rows, as shares of width and height.
        cut: objects whose centres are not, but of which something may show.
        absent: names of things that the scene has not, but which one might expect in it.
    """

    seen: tuple[ObjectState, ...]
    places: Vector
    cut: tuple[ObjectState, ...]
    absent: tuple[str, ...]

    @property
    def named(self) -> list[tuple[ObjectState, Vector]]:
        """Seen objects that nothing else in the picture shares its name with, and their places."""
        counts = Counter(o.name for o in self.seen + self.cut)
        return [(o, place) for o, place in zip(self.seen, self.places, strict=True) if counts[o.name] == 1]

    def unique(self, attribute: str) -> list[ObjectState]:
        """Seen objects of one colour whose ``colour`` or ``shape`` nothing else in the picture shares."""
        counts = Counter(getattr(o, attribute) for o in self.seen + self.cut)
        return [o for o in self.seen if o.colour and counts[getattr(o, attribute)] == 1]


@dataclass(frozen=True)
class Candidate:
    """Something that can be asked: equivalent wordings and the answer to any of them."""

    questions: tuple[str, ...]
    answer: str


def general_rows(
    state: SceneState, camera: str, rng: np.random.Generator, absent: Sequence[str] = ()
) -> list[GeneralRow]:
    """At most one row for each category, about what the camera shows; none when it shows no object.

    Args:
        state: the moment to ask about.
        camera: name of the camera whose picture goes with the rows.
        rng: decides what is asked and how it is worded.
        absent: names of things that are not there, to ask about beside those that colours and shapes give.

    Raises:
        KeyError: there is no such camera; the message names those that exist.
    """
    picture = _picture(state, camera, absent)
    rows = []
    for category, ask in CATEGORIES.items():
        answers: dict[str, list[Candidate]] = {}
        for candidate in ask(picture) if picture.seen else ():
            answers.setdefault(candidate.answer, []).append(candidate)
        if answers:
            # Draw the answer first: "no" must not win because there are more things that are not there.
            candidate = _draw(answers[_draw(list(answers), rng)], rng)
            rows.append(GeneralRow(_draw(candidate.questions, rng), candidate.answer, category))
    return rows


def _draw(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]


def _picture(state: SceneState, camera: str, absent: Sequence[str]) -> Picture:
    view = state.camera(camera)
    seen = tuple(o for o in state.objects if is_seen(view, o.position))
    cut = tuple(o for o in state.objects if not is_seen(view, o.position) and may_show(view, o))
    existing = {(o.colour, o.shape) for o in state.objects}
    colours, shapes = (tuple(dict.fromkeys(getattr(o, a) for o in seen if o.colour)) for a in ("colour", "shape"))
    other = (f"{colour} {shape}" for colour, shape in product(colours, shapes) if (colour, shape) not in existing)
    return Picture(
        seen=seen,
        places=np.array([in_picture(view, o.position) for o in seen]),
        cut=cut,
        absent=(*other, *absent),
    )


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith(("s", "x", "ch", "sh")) else f"{shape}s"


def _colour(picture: Picture) -> list[Candidate]:
    return [
        Candidate(
            (
                f"What colour is the {o.shape}?",
                f"What is the colour of the {o.shape}?",
                f"Tell me the colour of the {o.shape}.",
            ),
            f"The {o.shape} is {o.colour}.",
        )
        for o in picture.unique("shape")
    ]


def _object(picture: Picture) -> list[Candidate]:
    return [
        Candidate(
            (
                f"Which object is {o.colour}?",
                f"What is the {o.colour} object?",
                f"Name the {o.colour} thing in the picture.",
            ),
            f"The {o.colour} object is the {o.shape}.",
        )
        for o in picture.unique("colour")
    ]


def _presence(picture: Picture) -> list[Candidate]:
    def asked(name: str) -> tuple[str, ...]:
        return (
            f"Is there {_article(name)} in the picture?",
            f"Does the picture show {_article(name)}?",
            f"Can you see {_article(name)}?",
        )

    there = [Candidate(asked(o.name), "Yes.") for o in picture.seen]
    return there + [Candidate(asked(name), "No.") for name in picture.absent]


def _count(picture: Picture) -> list[Candidate]:
    kinds: list[tuple[str, Callable[[ObjectState], bool]]] = []
    if all(o.colour for o in picture.seen):  # things of many colours stand among furniture: what counts is open
        kinds.append(("objects", lambda thing: True))
    for colour in dict.fromkeys(o.colour for o in picture.seen if o.colour):
        kinds.append((f"{colour} objects", partial(_has, "colour", colour)))
    for shape in dict.fromkeys(o.shape for o in picture.seen):
        kinds.append((_plural(shape), partial(_has, "shape", shape)))
    return [
        Candidate(
            (f"How many {kind} are in the picture?", f"How many {kind} do you see?", f"Count the {kind}."),
            str(sum(map(counts, picture.seen))),
        )
        for kind, counts in kinds
        if not any(map(counts, picture.cut))  # one that the edge cuts may count or not
    ]


def _has(attribute: str, value: str, thing: ObjectState) -> bool:
    return bool(getattr(thing, attribute) == value)


def _caption(picture: Picture) -> list[Candidate]:
    if picture.cut:
        return []
    names = [_article(picture.seen[i].name) for i in np.argsort(picture.places[:, 0], kind="stable")]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    questions = (
        "Describe the picture.",
        "What is in the picture, from left to right?",
        "List the objects from left to right.",
    )
    return [Candidate(questions, f"The picture shows {listed}.")]


def _left_right(picture: Picture) -> list[Candidate]:
    return _relations(picture, 0, "to the left of", "to the right of")


def _above_below(picture: Picture) -> list[Candidate]:
    return _relations(picture, 1, "above", "below")


def _relations(picture: Picture, axis: int, before: str, after: str) -> list[Candidate]:
    candidates = []
    for (first, here), (second, there) in permutations(picture.named, 2):
        if abs(here[axis] - there[axis]) >= APART:
            questions = (
                f"In the picture, is the {first.name} {before} or {after} the {second.name}?",
                f"Is the {first.name} {before} the {second.name} in the picture, or {after} it?",
                f"Where in the picture is the {first.name}, {before} or {after} the {second.name}?",
            )
            candidates.append(Candidate(questions, f"It is {before if here[axis] < there[axis] else after} it."))
    return candidates


def _grid(picture: Picture) -> list[Candidate]:
    candidates = []
    for thing, place in picture.named:
        if np.abs(place[:, None] - np.array([1 / 3, 2 / 3])).min() >= OFF_LINE:
            column, row = (3 * place).astype(int)
            questions = (
                f"In which part of the picture is the {thing.name}?",
                f"Which part of the picture shows the {thing.name}?",
                f"Roughly, where in the picture is the {thing.name}?",
            )
            candidates.append(Candidate(questions, f"{ROWS[row]} {COLUMNS[column]}".capitalize() + "."))
    return candidates


def _position(picture: Picture) -> list[Candidate]:
    candidates = []
    for thing, place in picture.named:
        column, row = np.rint(100 * place).astype(int)
        questions = (
            f"Where in the picture is the {thing.name}? Answer in percent of width and height.",
            f"Point at the {thing.name}, in percent of width and height.",
            f"Give the position of the {thing.name} in percent of width and height.",
        )
        candidates.append(Candidate(questions, f"{column}, {row}"))
    return candidates


CATEGORIES: dict[str, Callable[[Picture], list[Candidate]]] = {
    "colour": _colour,
    "object": _object,
    "presence": _presence,
    "count": _count,
    "caption": _caption,
    "left_right": _left_right,
    "above_below": _above_below,
    "grid": _grid,
    "position": _position,
}
