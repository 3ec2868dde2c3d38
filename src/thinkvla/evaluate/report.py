"""One HTML file that shows what was trained and what it can do: no network, no scripts, everything inside.

Success rates with their intervals, policies side by side; videos of rollouts, answers, pictures of what policies look
at, training curves, samples of the data, and all that is needed to repeat it: configuration, versions, seeds. What was
not given is named at the end, with the command that makes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from thinkvla.evaluate import diagnosis, qa_results, results
from thinkvla.evaluate.comparison import Column, Comparison, Evaluation, compare, seed_ranges, split
from thinkvla.evaluate.curves import SIMILARITY, Curve, draw_curves, read_metrics
from thinkvla.evaluate.diagnosis import Diagnosis
from thinkvla.evaluate.drawing import SERIES
from thinkvla.evaluate.qa_section import answers_section
from thinkvla.evaluate.results import Episode, EvaluationResult, Rate
from thinkvla.evaluate.rollouts import Rollout, choose_rollouts
from thinkvla.evaluate.run import HARNESS
from thinkvla.evaluate.samples import data_url, draw_samples
from thinkvla.evaluate.success_chart import Chart, draw_success

ABSENT = {
    "success": "success rates: thinkvla eval CHECKPOINT --output FOLDER, or thinkvla grid CHECKPOINT --output FOLDER",
    "perturbations": "perturbed scenes: thinkvla grid CHECKPOINT --perturbations none camera --output FOLDER",
    "rollouts": "videos: thinkvla eval CHECKPOINT --videos 4 --output FOLDER",
    "answers": "answers to questions: thinkvla eval CHECKPOINT --qa --output FOLDER",
    "attention": "what policies look at: thinkvla diagnose attention CHECKPOINT CHECKPOINT --output FOLDER",
    "geometry": "their 3D features: thinkvla diagnose geometry CHECKPOINT --output FOLDER",
    "gap": "the reasoning gap of a checkpoint: thinkvla diagnose gap CHECKPOINT --output FOLDER",
    "training": "training curves: thinkvla report … --training RUN RUN",
    "data": "samples of the data: thinkvla report … --dataset FOLDER",
}
"""What a report can hold, and how to get it."""


@dataclass(frozen=True)
class Found:
    """The folders of results of each kind, below those that were given."""

    evaluations: tuple[Path, ...]
    answers: tuple[Path, ...]
    diagnoses: tuple[Path, ...]


@dataclass(frozen=True)
class SuccessSection:
    """Success in closed loop: the comparison, its charts, each suite's videos, and episodes that ended in an error."""

    comparison: Comparison
    charts: list[Chart]
    rollouts: dict[str, list[Rollout]]
    failed: list[tuple[str, Episode]]


@dataclass(frozen=True)
class Setting:
    """How one policy was evaluated: what all its evaluations have in common, and each of them in words."""

    column: Column
    common: dict[str, Any]
    evaluations: list[str]


@dataclass(frozen=True)
class DiagnosisSection:
    """A diagnosis with its pictures as (data URL, caption)."""

    found: Diagnosis
    pictures: list[tuple[str, str]]

    @property
    def quantities(self) -> list[str]:
        """What was measured of any policy, in order."""
        return list(dict.fromkeys(name for numbers in self.found.numbers.values() for name in numbers))


@dataclass(frozen=True)
class TrainingSection:
    """Training runs: names and numbers of their colours, curves over each other, each one's configuration, versions."""

    runs: list[tuple[str, int]]
    curves: list[Curve]
    settings: list[dict[str, Any]]


def write_report(
    output: Path,
    *,
    evaluations: Sequence[Path],
    training: Sequence[Path] = (),
    dataset: Path | None = None,
    title: str,
) -> None:
    """Write the report.

    Args:
        output: the HTML file, usually ``report.html``; an older one is replaced.
        evaluations: folders in or below which results are: of evaluations in closed loop, of grids, of questions and of
            diagnoses; in the order to show them.
        training: output folders of training runs, for their curves and configurations.
        dataset: the generated data set's folder, for samples.
        title: heading of the page.

    Raises ValueError naming the folder or file that is missing or not what it should be.
    """
    found = find_results(evaluations)
    diagnoses = sorted(map(_diagnosis, found.diagnoses), key=lambda section: diagnosis.KINDS.index(section.found.kind))
    names = {path: name for section in diagnoses for name, path in section.found.policies.items()}
    success = _success(found.evaluations, names) if found.evaluations else None
    trained = _training(training, success.comparison.columns if success else ()) if training else None
    samples = draw_samples(dataset) if dataset else None
    present = {
        "success": success,
        "perturbations": success and success.charts,
        "rollouts": success and any(success.rollouts.values()),
        "answers": found.answers,
        "training": trained,
        "data": samples,
        **{section.found.kind: section for section in diagnoses},
    }
    html = _template().render(
        title=title,
        created=datetime.now(UTC),
        success=success,
        settings=_settings(success.comparison.columns) if success else [],
        answers=answers_section(found.answers, names) if found.answers else None,
        diagnoses=diagnoses,
        gap=[curve for curve in trained.curves if curve.name == SIMILARITY] if trained else [],
        training=trained,
        samples=samples,
        absent=[words for name, words in ABSENT.items() if not present.get(name)],
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(html, "utf-8")


def find_results(folders: Iterable[Path]) -> Found:
    """All results in or below ``folders``, each once; raises ValueError naming a folder that holds none."""
    kinds: dict[str, dict[Path, None]] = {
        results.FILE_NAME: {},
        qa_results.FILE_NAME: {},
        diagnosis.FILE_NAME: {},
    }
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} does not exist; give a folder with results, e.g. of 'thinkvla eval'")
        files = [file for name in kinds for file in sorted(folder.rglob(name)) if HARNESS not in file.parts]
        if not files:
            raise ValueError(
                f"{folder}: there are no results in it or below ({', '.join(kinds)}); give output folders of 'thinkvla "
                "eval', 'thinkvla grid' or 'thinkvla diagnose'"
            )
        for file in files:
            kinds[file.name][file.parent] = None
    return Found(*(tuple(found) for found in kinds.values()))


def _success(folders: Sequence[Path], names: Mapping[str, str]) -> SuccessSection:
    comparison = compare([Evaluation.load(folder) for folder in folders], names)
    rollouts = {suite.name: choose_rollouts(suite.name, comparison.columns) for suite in comparison.suites}
    failed = [
        (column.name, episode)
        for column in comparison.columns
        for episodes in column.episodes.values()
        for episode in episodes
        if episode.error is not None
    ]
    return SuccessSection(comparison, draw_success(comparison), rollouts, failed)


def _settings(columns: Sequence[Column]) -> list[Setting]:
    return [Setting(column, _common(column), [_words(one.result) for one in column.evaluations]) for column in columns]


def _common(column: Column) -> dict[str, Any]:
    """Options and versions that all evaluations of a policy share; of others, how many values there are."""
    first = column.evaluations[0].result
    values: dict[str, Any] = {"checkpoint": first.policy, "checkpoint SHA-256": first.fingerprint}
    for group in ("options", "versions"):
        for name in getattr(first, group):
            seen = {json.dumps(getattr(one.result, group).get(name)) for one in column.evaluations}
            if name not in ("output", "suite", "perturbation", "level", "checkpoint"):  # each evaluation's own
                values[name] = getattr(first, group)[name] if len(seen) == 1 else f"{len(seen)} different values"
    return values


def _words(result: EvaluationResult) -> str:
    """Which scenes an evaluation had: ``object, camera 2: 20 episodes, test seeds …``."""
    scenes = "" if result.perturbation is None else f", {result.perturbation} {result.level}"
    numbers = seed_ranges(episode.seed for episode in result.episodes)
    tasks = len(result.tasks)
    return (
        f"{result.suite}{scenes}: {len(result.episodes)} episodes over {tasks} {'task' if tasks == 1 else 'tasks'}, "
        f"{split(result.episodes)} seeds {numbers} for each task; {result.created}, took {result.seconds:.0f} s"
    )


def _diagnosis(folder: Path) -> DiagnosisSection:
    found = Diagnosis.load(folder)
    pictures = [(data_url("image/png", (folder / p.file).read_bytes()), p.caption) for p in found.pictures]
    return DiagnosisSection(found, pictures)


def _training(runs: Sequence[Path], columns: Sequence[Column]) -> TrainingSection:
    colours = _colours(runs, columns)
    return TrainingSection(
        runs=[(run.name, colour) for run, colour in zip(runs, colours, strict=True)],
        curves=draw_curves([read_metrics(run) for run in runs], colours),
        settings=[dict(_flat(_read(run / "config.json"))) | _read(run / "versions.json") for run in runs],
    )


def _colours(runs: Sequence[Path], columns: Sequence[Column]) -> list[int]:
    """A run has the colour of the policy that came of it, so that a colour means one thing; others the next."""
    policies = [PurePath(column.evaluations[0].result.policy).parts for column in columns]
    others = count(len(columns))
    found = [[number for number, parts in enumerate(policies) if run.name in parts] for run in runs]
    return [numbers[0] if numbers else next(others) for numbers in found]


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"{file} does not exist; give the output folder of a training run")
    values: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return values


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("thinkvla", "evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "interval": _interval, "plain": _plain, "svg": Markup}
    environment.globals |= {"colours": SERIES}
    return environment.get_template("report.html")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}\u202f%"


def _interval(rate: Rate) -> str:
    return f"{100 * rate.low:.1f}–{100 * rate.high:.1f}\u202f%"


def _plain(value: Any) -> str:
    """An option's value as a person would write it."""
    if value is None or value in ((), []):
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
