"""What a model answered: rates with intervals and chance levels, every answer, and all that is needed to repeat it.

Written as ``qa.json`` in the evaluation's folder, with the pictures that were asked about beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, median
from typing import Any

from thinkvla.evaluate.intervals import wilson
from thinkvla.evaluate.scoring import Score, best_constant

FORMAT = "thinkvla-qa/1"
FILE_NAME = "qa.json"


@dataclass(frozen=True)
class Answer:
    """One question and what was said.

    Attributes:
        spatial: whether it is a spatial (3D) question.
        category: kind of question.
        question: as it was asked, with its options.
        expected: the right answer.
        said: the model's answer.
        picture: file of the picture, relative to the evaluation's folder; None for a question without one.
        origin: suite, task, seed and camera of a tabletop question; set and row of another.
        score: how the answer did.
    """

    spatial: bool
    category: str
    question: str
    expected: str
    said: str
    picture: str | None
    origin: Mapping[str, Any]
    score: Score


@dataclass(frozen=True)
class QARate:
    """Right answers among questions.

    Attributes:
        right: right answers.
        questions: questions asked.
        low: lower end of Wilson's 95 % interval, in [0, 1].
        high: its upper end.
        chance: share right by guessing: 1 / options where a question offers some, else the best constant answer.
        concluded: spatial answers that came to a final letter; None without spatial questions.
        quoted: 3D locations quoted, of those that the right answers quote; ``locations`` is their number.
        locations: 3D locations that the right answers quote.
        location_error: median error of the quoted ones, metres; None when there are none.
        recall: mean share of things that captions name; None without captions.
        precision: mean share of named things that are there; None without captions.
        position_error: median error of positions, percent of the picture's size; None when none was given.
    """

    right: int
    questions: int
    low: float
    high: float
    chance: float
    concluded: int | None
    quoted: int
    locations: int
    location_error: float | None
    recall: float | None
    precision: float | None
    position_error: float | None

    @property
    def value(self) -> float:
        """Share of right answers, in [0, 1]."""
        return self.right / self.questions

    @staticmethod
    def of(answers: Iterable[Answer]) -> QARate:
        """Count answers, of which there must be at least one."""
        answers = list(answers)
        scores = [answer.score for answer in answers]
        right = sum(s.right for s in scores)
        concluded = [s.concluded for s in scores if s.concluded is not None]
        errors = [error for s in scores for error in s.location_errors]
        return QARate(
            right,
            len(scores),
            *wilson(right, len(scores)),
            chance=_chance(answers),
            concluded=sum(concluded) if concluded else None,
            quoted=len(errors),
            locations=sum(s.locations for s in scores),
            location_error=_of(median, errors),
            recall=_of(fmean, [s.recall for s in scores if s.recall is not None]),
            precision=_of(fmean, [s.precision for s in scores if s.precision is not None]),
            position_error=_of(median, [s.position_error for s in scores if s.position_error is not None]),
        )


@dataclass(frozen=True)
class QAResult:
    """How well one model answers questions.

    Attributes:
        policy: path of the checkpoint or of the plain model.
        fingerprint: SHA-256 of its files.
        answers: every question with what was said, in the order in which they were made.
        options: the options of the run, as plain values.
        versions: software and machine, from ``thinkvla.versions``.
        created: when it was started, ISO 8601, UTC.
        seconds: wall time of answering, without making the questions.
    """

    policy: str
    fingerprint: str
    answers: tuple[Answer, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    created: str
    seconds: float

    @property
    def totals(self) -> dict[str, QARate]:
        """``2d`` and ``3d``, those of the two that were asked."""
        kinds = {"2d": [a for a in self.answers if not a.spatial], "3d": [a for a in self.answers if a.spatial]}
        return {kind: QARate.of(answers) for kind, answers in kinds.items() if answers}

    @property
    def categories(self) -> dict[str, dict[str, QARate]]:
        """``2d`` and ``3d`` → each category of them, in alphabetical order."""
        found: dict[str, dict[str, QARate]] = {kind: {} for kind in self.totals}
        for name, answers in _by_category(self.answers):
            found["3d" if answers[0].spatial else "2d"][name] = QARate.of(answers)
        return found

    def save(self, folder: Path) -> None:
        """Write ``qa.json`` into an existing folder."""
        values = {
            "format": FORMAT,
            **{field.name: getattr(self, field.name) for field in fields(self) if field.name != "answers"},
            "totals": {kind: _values(rate) for kind, rate in self.totals.items()},
            "categories": {
                kind: {name: _values(rate) for name, rate in rates.items()} for kind, rates in self.categories.items()
            },
            "answers": [asdict(answer) for answer in self.answers],
        }
        (folder / FILE_NAME).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")

    @staticmethod
    def load(folder: Path) -> QAResult:
        """Read a result's folder; raises ValueError naming the file when it is not one."""
        file = folder / FILE_NAME
        if not file.is_file():
            raise ValueError(f"{file} does not exist; give the output folder of 'thinkvla eval CHECKPOINT --qa'")
        values = json.loads(file.read_text("utf-8"))
        if values.get("format") != FORMAT:
            raise ValueError(f"{file}: format is {values.get('format')!r}, this version reads {FORMAT!r}")
        names = [field.name for field in fields(QAResult)]
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(f"{file}: keys {missing} are missing; ask the questions again")
        answers = tuple(Answer(**{**answer, "score": _score(answer["score"])}) for answer in values["answers"])
        return QAResult(**{**{name: values[name] for name in names}, "answers": answers})


def _by_category(answers: Iterable[Answer]) -> list[tuple[str, list[Answer]]]:
    """Categories in alphabetical order with their answers; a name that both kinds use comes twice."""
    found: dict[tuple[str, bool], list[Answer]] = {}
    for answer in answers:
        found.setdefault((answer.category, answer.spatial), []).append(answer)
    return [(name, found[name, spatial]) for name, spatial in sorted(found)]


def _chance(answers: Sequence[Answer]) -> float:
    """Chance level over the questions, category by category."""
    expected = 0.0
    for name, members in _by_category(answers):
        offered = [a.score.options for a in members]
        known = [1 / options for options in offered if options is not None]
        if len(known) == len(members):
            expected += sum(known)
        else:
            expected += len(members) * best_constant(name, [a.expected for a in members])
    return expected / len(answers)


def _of(summary: Any, values: Sequence[float]) -> float | None:
    return float(summary(values)) if values else None


def _score(values: Mapping[str, Any]) -> Score:
    return Score(**{**values, "location_errors": tuple(values["location_errors"])})


def _values(rate: QARate) -> dict[str, Any]:
    return {**asdict(rate), "rate": rate.value}
