"""Ask a model held-out questions and see what it answers: how much it knows about pictures and space."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import tyro
from PIL import Image as Pillow

from thinkvla.answering import Question, load_answerer
from thinkvla.checkpoint import fingerprint
from thinkvla.contract import Image
from thinkvla.evaluate.held_out import HeldOut, held_out_questions, own_questions
from thinkvla.evaluate.qa_results import Answer, QAResult
from thinkvla.evaluate.scoring import score
from thinkvla.files import new_folder
from thinkvla.progress import progress
from thinkvla.versions import versions

PICTURES = "pictures"
SUITES = ("object",)


@dataclass(frozen=True)
class QAOptions:
    """Which model to ask what, and where the results go.

    Attributes:
        checkpoint: folder of a policy's checkpoint, of a plain Qwen3-VL as published, or the name of a shipped model.
        output: new folder for the results.
        questions: questions of each category, at most.
        suites: suites of the tabletop world whose held-out scenes are asked about; default: object.
        data: sets of questions to ask instead of the tabletop's.
        limit: most tokens of an answer.
        batch: questions answered at once.
    """

    checkpoint: tyro.conf.Positional[Path]
    output: Path
    questions: int = 50
    suites: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    limit: int = 256
    batch: int = 64


class Answers(Protocol):
    """Anything that answers questions."""

    def answer(self, questions: Sequence[Question], limit: int) -> list[str]:
        """One answer of at most ``limit`` tokens for each question, in the same order."""


def evaluate_qa(options: QAOptions) -> QAResult:
    """Ask what ``options`` say; results and pictures are in ``options.output``.

    Raises:
        ValueError: options do not fit: an existing output, something that is neither checkpoint nor model, an unknown
            suite, a set without questions.
    """
    _check(options)
    model = load_answerer(options.checkpoint)
    return evaluate_model(model, options, fingerprint(options.checkpoint))


def evaluate_model(model: Answers, options: QAOptions, fingerprint: str) -> QAResult:
    """As :func:`evaluate_qa`, for a model in memory; ``options.checkpoint`` is then only its name in the results."""
    _check(options)
    created = datetime.now(UTC)
    with new_folder(options.output) as folder:
        if options.data:
            questions = own_questions(options.data, options.questions)
        else:
            questions = held_out_questions(options.suites or SUITES, options.questions)
        _check_answers(questions)
        started = time.monotonic()
        said = ask(model, questions, options.limit, options.batch)
        seconds = time.monotonic() - started
        (folder / PICTURES).mkdir()
        result = QAResult(
            policy=str(options.checkpoint),
            fingerprint=fingerprint,
            answers=tuple(_answer(question, words, folder) for question, words in zip(questions, said, strict=True)),
            options={
                **asdict(options),
                "checkpoint": str(options.checkpoint),
                "output": str(options.output),
                "data": list(map(str, options.data)),
                "suites": [] if options.data else list(options.suites or SUITES),
            },
            versions=versions(),
            created=created.isoformat(timespec="seconds"),
            seconds=round(seconds, 1),
        )
        result.save(folder)
    return result


def ask(model: Answers, questions: Sequence[HeldOut], limit: int, batch: int) -> list[str]:
    """The model's answer to each question, in order; it is shown ``batch`` of them at a time."""
    # Alike ones together: answers of one length end together, and prompts of one length need no padding.
    order = sorted(range(len(questions)), key=lambda i: (questions[i].row.spatial, len(questions[i].row.answer)))
    said = [""] * len(questions)
    with progress("question") as display:
        bar = display.add_task("answering", total=len(questions))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            rows = [questions[i].row for i in chosen]
            answers = model.answer([Question(row.image, row.question, row.spatial) for row in rows], limit)
            for place, answer in zip(chosen, answers, strict=True):
                said[place] = answer
            display.advance(bar, len(chosen))
    return said


def _check(options: QAOptions) -> None:
    """Raise ValueError for options that do not fit."""
    if options.output.exists():
        raise ValueError(f"output folder {options.output} exists already; choose another name or remove it")
    for name in ("questions", "limit", "batch"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} is {getattr(options, name)}, expected at least 1")
    if options.data and options.suites:
        raise ValueError("suites are for the tabletop's questions, data for others; give one of the two")


def _check_answers(questions: Sequence[HeldOut]) -> None:
    """Raise ValueError for a question whose own answer would not count as right."""
    for question in questions:
        row = question.row
        if not score(row, row.answer).right:
            kind = "a spatial question" if row.spatial else f"category '{row.category}'"
            raise ValueError(
                f"{dict(question.origin)}: the answer '{row.answer}' is not of the form that {kind} is scored by (see "
                "docs/questions.md, 'Measuring answers'); correct the row or give it another category"
            )


def _answer(question: HeldOut, said: str, folder: Path) -> Answer:
    row = question.row
    picture = None if row.image is None else _save(row.image, folder)
    return Answer(row.spatial, row.category, row.question, row.answer, said, picture, question.origin, score(row, said))


def _save(image: Image, folder: Path) -> str:
    """Write a picture under a name made from its content, so that questions about one picture share a file."""
    digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:16]
    name = f"{PICTURES}/{digest}.png"
    if not (folder / name).is_file():
        Pillow.fromarray(image).save(folder / name)
    return name
