"""Questions to measure a model with: about scenes no training has seen, or a user's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thinkvla.data.question_rows import LETTERS, render_question
from thinkvla.data.spatial_qa import QADataset, QARow
from thinkvla.progress import progress
from thinkvla.tabletop.photograph import Photograph, photograph
from thinkvla.tabletop.questions.categories import CATEGORIES as SPATIAL
from thinkvla.tabletop.questions.general import CATEGORIES as GENERAL
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.suites import suite

SEEDS = seeds("test")[8_000:]
"""Scenes that questions are asked about, the last test seeds; evaluations in closed loop start with earlier ones."""
PICTURES = 6
"""Pictures looked at for each question wanted of a category, before a category stays with fewer."""


@dataclass(frozen=True)
class HeldOut:
    """One question with its answer, and where it is from.

    Attributes:
        row: picture, question and answer.
        origin: suite, task, seed and camera of a tabletop question; set and row of another.
    """

    row: QARow
    origin: Mapping[str, Any]


def held_out_questions(suites: Sequence[str], count: int) -> list[HeldOut]:
    """The first ``count`` questions of each category about the tabletop's held-out scenes.

    One picture a scene, from the camera and moment that training's pictures are drawn with, so the questions of one
    category are all about different scenes. Suites and their tasks take turns. A category that the suites' scenes
    seldom allow may get fewer: after ``PICTURES * count`` pictures no more are made. The same arguments give the same
    questions.

    Raises:
        ValueError: a suite is unknown, or there are too few scenes for ``count``.
    """
    most = len(SEEDS) // PICTURES
    if count > most:
        raise ValueError(f"questions is {count}, expected at most {most}: there are {len(SEEDS)} scenes to ask about")
    tasks = [suite(name) for name in suites]
    found: list[HeldOut] = []
    counts = Counter[tuple[bool, str]]()
    wanted = count * (len(GENERAL) + len(SPATIAL))
    with progress("question") as display:
        bar = display.add_task("making questions", total=wanted)
        for number, seed in enumerate(SEEDS[: PICTURES * count]):
            turn, which = divmod(number, len(suites))
            task = tasks[which][turn % len(tasks[which])]
            picture = photograph(task, seed, np.random.default_rng([seed, 2]))
            origin = {"suite": suites[which], "task": task.name, "seed": seed, "camera": picture.camera}
            for row in _rows(picture):
                if counts[row.spatial, row.category] < count:
                    counts[row.spatial, row.category] += 1
                    found.append(HeldOut(row, origin))
            display.update(bar, completed=len(found))
            if len(found) == wanted:
                break
    return found


def own_questions(paths: Sequence[Path], count: int) -> list[HeldOut]:
    """At most ``count`` questions of each category of every set, evenly over the set; of a conversation the first.

    Raises:
        ValueError: something is not a set of questions; the message names it.
    """
    found = []
    for path in paths:
        source = QADataset(path)
        numbers: dict[str, list[int]] = {}
        for number, category in enumerate(source.categories):
            numbers.setdefault(category, []).append(number)
        for members in numbers.values():
            for place in np.linspace(0, len(members) - 1, min(count, len(members))).astype(int):
                number = members[place]
                found.append(HeldOut(source[number].first_question(), {"set": str(path), "row": number}))
    return found


def _rows(picture: Photograph) -> list[QARow]:
    general = [QARow(picture.image, row.question, row.answer, row.category, spatial=False) for row in picture.general]
    spatial = [
        QARow(
            picture.image,
            render_question(row.question, {letter: getattr(row, letter) for letter in LETTERS}),
            row.answer_cot,
            row.category,
            spatial=True,
        )
        for row in picture.spatial
    ]
    return general + spatial
