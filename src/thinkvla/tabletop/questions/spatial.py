"""Spatial question rows with chain-of-thought answers, in SpatialReasoner's row format (arXiv 2504.20024).

Deviation from SpatialReasoner's text: locations are quoted with two decimals instead of one, because things
on a table stand centimetres apart. Cosines and angles have two decimals there and here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import TypedDict

import numpy as np

from thinkvla.tabletop.questions.categories import CATEGORIES, Category
from thinkvla.tabletop.questions.view import Entity, seen_entities
from thinkvla.tabletop.state import SceneState, Vector

LETTERS = "ABCD"


class LabelledBox(TypedDict):
    """Where a named thing is: its centre (x, y, z) in the view frame, metres."""

    bbox_3d: list[float]
    label: str


class LabelledDirection(TypedDict):
    """How a named thing is turned: unit vectors out of its front and to its left, view frame."""

    front_dir: list[float]
    left_dir: list[float]
    label: str


@dataclass(frozen=True)
class SpatialRow:
    """One multiple-choice question about 3D space.

    Attributes:
        question: the question, without its options.
        A: first option.
        B: second option.
        C: third option; None in a question with two options.
        D: fourth option; None in a question with two options.
        answer: letter of the right option.
        answer_name: text of the right option.
        answer_cot: the reasoning, ending in ``Therefore, the final answer is <letter>.``
        category: one of the twelve of SpatialReasoner, e.g. ``height_higher``.
        bounding_box: where everything the question names is, unrounded.
        direction: how those are turned whose front or left the answer uses, unrounded.
    """

    question: str
    A: str
    B: str
    C: str | None
    D: str | None
    answer: str
    answer_name: str
    answer_cot: str
    category: str
    bounding_box: list[LabelledBox]
    direction: list[LabelledDirection]


def spatial_rows(state: SceneState, camera: str, rng: np.random.Generator) -> list[SpatialRow]:
    """At most one row for each of the twelve categories, about what the camera sees.

    The answer is decided from the true values; the text quotes rounded ones, and every quantity derived in
    it follows from those quoted before. A question is asked only when true and quoted values both decide
    it, and alike. Within a category each possible answer is equally likely, and so is each position of the
    right option.

    Args:
        state: the moment to ask about.
        camera: name of the camera whose picture goes with the rows.
        rng: decides what is asked and how it is worded.

    Raises:
        KeyError: there is no such camera; the message names those that exist.
    """
    entities = seen_entities(state, camera)
    rows = (_ask(category, entities, rng) for category in CATEGORIES)
    return [row for row in rows if row is not None]


def _ask(category: Category, entities: tuple[Entity, ...], rng: np.random.Generator) -> SpatialRow | None:
    # Cases by the answer's text, so that no name (the gripper is often highest) answers most questions.
    cases: dict[str, list[tuple[int, tuple[Entity, ...]]]] = {}
    quoted = {e.label: e.quoted() for e in entities}
    for group in _groups(category, entities):
        decision = category.decide(*group)
        if decision is not None and decision == category.decide(*(quoted[e.label] for e in group)):
            name = category.answers[decision][0].format(**_names(group))
            cases.setdefault(name, []).append((decision, group))
    if not cases:
        return None
    same_answer = list(cases.values())[rng.integers(len(cases))]
    decision, group = same_answer[rng.integers(len(same_answer))]
    return _row(category, decision, group, rng)


def _names(group: tuple[Entity, ...]) -> dict[str, str]:
    """The labels under the names that the templates use: a, b, c."""
    return {key: e.label for key, e in zip("abc", group, strict=False)}


def _groups(category: Category, entities: tuple[Entity, ...]) -> Iterator[tuple[Entity, ...]]:
    """Every ordered choice of distinct entities that have the fronts the category needs."""
    for group in permutations(entities, len(category.fronts)):
        if all(e.front is not None for e, needed in zip(group, category.fronts, strict=True) if needed):
            yield group


def _row(category: Category, decision: int, group: tuple[Entity, ...], rng: np.random.Generator) -> SpatialRow:
    names = _names(group)
    question = category.questions[rng.integers(len(category.questions))].format(**names)
    order = rng.permutation(len(category.answers)).tolist()
    options: list[str | None] = [category.answers[i][0].format(**names) for i in order]
    options += [None] * (len(LETTERS) - len(options))
    letter = LETTERS[order.index(decision)]
    name, conclusion = (text.format(**names) for text in category.answers[decision])
    reasoning = category.explain(*(e.quoted() for e in group))
    first, second, third, fourth = options
    assert first is not None
    assert second is not None
    return SpatialRow(
        question=question,
        A=first,
        B=second,
        C=third,
        D=fourth,
        answer=letter,
        answer_name=name,
        answer_cot=f"{reasoning} {conclusion} Therefore, the final answer is {letter}.",
        category=category.name,
        bounding_box=[LabelledBox(bbox_3d=_floats(e.location), label=e.label) for e in group],
        direction=[
            LabelledDirection(front_dir=_floats(e.front), left_dir=_floats(e.left), label=e.label)
            for e, used in zip(group, category.fronts, strict=True)
            if used and e.front is not None and e.left is not None
        ],
    )


def _floats(values: Vector) -> list[float]:
    return [float(v) for v in values]
