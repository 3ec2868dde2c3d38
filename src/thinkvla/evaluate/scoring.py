"""When an answer to a question is right. The rules are stated in ``docs/questions.md``, "Measuring answers"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import dist

from thinkvla.data.spatial_qa import QARow

NEAR = 5.0
"""A position is right within this many percent of the picture's size."""
TWO_CHOICES = ("presence", "left_right", "above_below")
"""General categories whose questions name both possible answers, or ask yes or no."""

_FINAL = re.compile(r"therefore, the final answer is ([a-d])(?=\.?(?:\s|$))", re.IGNORECASE)
_OPTION = re.compile(r"^[A-D]\. ", re.MULTILINE)
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_LOCATION = re.compile(rf"3D location of the ([^.()]+) is \({_NUMBER}, {_NUMBER}, {_NUMBER}\)")
_POSITION = re.compile(rf"{_NUMBER}\s*%?\s*,\s*{_NUMBER}\s*%?\s*\.?")


@dataclass(frozen=True)
class Score:
    """How one answer did.

    Attributes:
        right: whether it is right.
        options: how many answers the question offers; None for an open question.
        concluded: whether a spatial answer came to a final letter; None for a general one.
        locations: 3D locations that the right answer quotes.
        location_errors: distances between those and the ones said of the same things, metres.
        recall: share of the things to be named in a caption that were; None for another category.
        precision: share of the things named in a caption that are there; 0 when none was, None for another category.
        position_error: distance from the right position, percent of the picture's size; None for another category and
            for an answer that is no position.
    """

    right: bool
    options: int | None = None
    concluded: bool | None = None
    locations: int = 0
    location_errors: tuple[float, ...] = ()
    recall: float | None = None
    precision: float | None = None
    position_error: float | None = None


def score(row: QARow, said: str) -> Score:
    """Compare what was said with the row's answer."""
    if row.spatial:
        return _spatial(row, said)
    right = normalized(said) == normalized(row.answer)
    if row.category == "caption":
        there, named = named_things(row.answer), named_things(said)
        both = len(there & named)
        return Score(right, recall=both / max(len(there), 1), precision=both / max(len(named), 1))
    if row.category == "position":
        truth, place = position(row.answer), position(said)
        error = None if truth is None or place is None else dist(truth, place)
        return Score(error is not None and error <= NEAR, position_error=error)
    return Score(right, options=2 if row.category in TWO_CHOICES else None)


def best_constant(category: str, answers: Sequence[str]) -> float:
    """Share of the open questions of a general category that one and the same answer gets right at most.

    A colour or an object is taken by its name alone, the last word of the answer: who knows how to put the question's
    words into the answer still has to guess that.
    """
    if category == "position":
        places = [position(answer) for answer in answers]
        found = [place for place in places if place is not None]
        return max(sum(dist(guess, place) <= NEAR for place in found) for guess in found) / len(answers)
    values = [normalized(answer) for answer in answers]
    if category in ("colour", "object"):
        values = [value.split(" ")[-1] for value in values]
    return max(Counter(values).values()) / len(answers)


def normalized(text: str) -> str:
    """Lower case, words only, one space between them."""
    return " ".join(re.findall(r"[\w<|>-]+", text.lower()))


def named_things(caption: str) -> frozenset[str]:
    """The things that a caption lists: ``The picture shows a red cube and a blue plate.`` → red cube, blue plate."""
    listed = normalized(caption.replace(",", " and ")).removeprefix("the picture shows ")
    parts = (re.sub(r"^(a|an|the) ", "", part.strip()) for part in re.split(r"\band\b", listed))
    return frozenset(part for part in parts if part)


def position(text: str) -> tuple[float, float] | None:
    """Column and row in percent from ``37, 62``; None for anything else, and for places outside the picture."""
    found = _POSITION.fullmatch(text.strip())
    place = None if found is None else (float(found[1]), float(found[2]))
    return None if place is None or max(place) > 100 else place


def locations(text: str) -> dict[str, tuple[float, float, float]]:
    """3D locations that a text quotes, metres, by name; the first of each name counts."""
    found: dict[str, tuple[float, float, float]] = {}
    for name, *numbers in _LOCATION.findall(text):
        left, up, forward = map(float, numbers)
        found.setdefault(name, (left, up, forward))
    return found


def final_letter(text: str) -> str | None:
    """The letter that an answer comes to, the last if it comes to several; None if it comes to none."""
    letters = _FINAL.findall(text)
    return letters[-1].upper() if letters else None


def _spatial(row: QARow, said: str) -> Score:
    letter = final_letter(said)
    truth, quoted = locations(row.answer), locations(said)
    return Score(
        right=letter is not None and letter == final_letter(row.answer),
        options=len(_OPTION.findall(row.question)),
        concluded=letter is not None,
        locations=len(truth),
        location_errors=tuple(dist(truth[name], quoted[name]) for name in truth if name in quoted),
    )
