"""The report's section on answers: models side by side, category by category, and some of what they said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from thinkvla.evaluate.names import policy_names
from thinkvla.evaluate.qa_results import FILE_NAME, Answer, QARate, QAResult
from thinkvla.evaluate.qa_table import TITLES, remarks
from thinkvla.evaluate.samples import data_url

EXAMPLES = {"2d": 3, "3d": 3}
"""How many questions of each kind are shown with what was said."""

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Row:
    """One line of the table: a kind's total or one category, with each model's rate (None: it was not asked)."""

    name: str
    rates: tuple[QARate | None, ...]

    @property
    def chance(self) -> float:
        """Chance level of the first model that was asked."""
        return next(rate.chance for rate in self.rates if rate is not None)


@dataclass(frozen=True)
class Kind:
    """One kind of questions: its total and its categories."""

    title: str
    total: Row
    categories: tuple[Row, ...]


@dataclass(frozen=True)
class Example:
    """One question with its picture (a data URL, or None without one) and what each model said."""

    picture: str | None
    answers: tuple[Answer, ...]


def is_qa_result(folder: Path) -> bool:
    """Whether a folder holds answers rather than an evaluation in closed loop."""
    return (folder / FILE_NAME).is_file()


def answers_section(folders: Sequence[Path], names: Mapping[str, str]) -> Markup:
    """The section as HTML, in the report's style.

    Args:
        folders: results of 'thinkvla eval CHECKPOINT --qa', in the order to show them; at least one.
        names: path of a checkpoint → what to call it; the others have the names of their paths.

    Raises:
        ValueError: a folder is no such result; the message names the file.
    """
    results = [QAResult.load(folder) for folder in folders]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "remarks": remarks}
    template = environment.from_string(files("thinkvla.evaluate").joinpath("qa_section.html").read_text("utf-8"))
    return Markup(
        template.render(
            results=results,
            names=policy_names(dict.fromkeys(result.policy for result in results)) | dict(names),
            kinds=[kind for name in TITLES if (kind := _kind(name, results)) is not None],
            examples=[example for name in TITLES for example in _examples(name, results, folders)],
            alike=len({frozenset(map(_key, result.answers)) for result in results}) == 1,
        )
    )


def _kind(name: str, results: Sequence[QAResult]) -> Kind | None:
    """The table of a kind; None when no model was asked such questions."""
    if not any(name in result.totals for result in results):
        return None
    rates = [result.categories.get(name, {}) for result in results]
    names = sorted({category for each in rates for category in each})
    rows = [Row(category or "without category", tuple(each.get(category) for each in rates)) for category in names]
    return Kind(TITLES[name], Row("all", tuple(result.totals.get(name) for result in results)), tuple(rows))


def _examples(name: str, results: Sequence[QAResult], folders: Sequence[Path]) -> list[Example]:
    """Questions of a kind that every model was asked: where they differ first, other categories and pictures each."""
    said = [{_key(a): a for a in result.answers if a.spatial is (name == "3d")} for result in results]
    shared = [tuple(each[key] for each in said) for key in said[0] if all(key in each for each in said)]
    chosen: dict[str, tuple[Answer, ...]] = {}
    for answers in sorted(shared, key=lambda answers: len({a.score.right for a in answers}) == 1):
        shown = {others[0].picture for others in chosen.values()}
        if answers[0].category not in chosen and (answers[0].picture is None or answers[0].picture not in shown):
            chosen[answers[0].category] = answers
    return [Example(_picture(answers[0], folders[0]), answers) for answers in list(chosen.values())[: EXAMPLES[name]]]


def _key(answer: Answer) -> Key:
    return answer.category, answer.question, repr(sorted(answer.origin.items()))


def _picture(answer: Answer, folder: Path) -> str | None:
    return None if answer.picture is None else data_url("image/png", (folder / answer.picture).read_bytes())


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\u202f%"
