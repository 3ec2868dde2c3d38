"""One HTML file that shows what was trained and what it can do: no network, no scripts, everything inside.

Success rates with their intervals, videos of rollouts, training curves, samples of the data, and all that is needed to
repeat the evaluation: configuration, versions, seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from thinkvla.evaluate.curves import Curve, draw_curves, read_metrics
from thinkvla.evaluate.qa_section import answers_section, is_qa_result
from thinkvla.evaluate.results import Episode, EvaluationResult, Rate
from thinkvla.evaluate.samples import data_url, draw_samples
from thinkvla.tabletop.seeds import seeds


@dataclass(frozen=True)
class Rollout:
    """One video: its data URL and the episode it shows."""

    url: str
    episode: Episode


@dataclass(frozen=True)
class EvaluationSection:
    """One evaluation as the report shows it."""

    result: EvaluationResult
    instructions: dict[str, str]
    seeds: str
    rollouts: list[Rollout]
    failed: list[Episode]


@dataclass(frozen=True)
class TrainingSection:
    """A training run as the report shows it: its curves, its configuration under dotted names, and its versions."""

    curves: list[Curve]
    config: dict[str, Any]
    versions: dict[str, Any]


def write_report(
    output: Path, *, evaluations: Sequence[Path], training: Path | None, dataset: Path | None, title: str
) -> None:
    """Write the report.

    Args:
        output: the HTML file, usually ``report.html``; an older one is replaced.
        evaluations: output folders of evaluations in closed loop or of questions, in the order to show them.
        training: output folder of the training run, for its curves and configuration.
        dataset: the generated data set's folder, for samples.
        title: heading of the page.

    Raises ValueError naming the folder or file that is missing or not what it should be.
    """
    answers = [folder for folder in evaluations if is_qa_result(folder)]
    html = _template().render(
        title=title,
        created=datetime.now(UTC),
        sections=[_section(folder) for folder in evaluations if folder not in answers],
        answers=answers_section(answers) if answers else None,
        training=_training(training) if training else None,
        samples=draw_samples(dataset) if dataset else None,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(html, "utf-8")


def seed_ranges(numbers: Iterable[int]) -> str:
    """Seeds in words, runs joined: ``1 000 000–1 000 019, 1 000 050``."""
    runs: list[list[int]] = []
    for seed in sorted(set(numbers)):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1][1:] = [seed]
        else:
            runs.append([seed])
    return ", ".join("–".join(f"{seed:,}".replace(",", "\u202f") for seed in run) for run in runs)


def _section(folder: Path) -> EvaluationSection:
    result = EvaluationResult.load(folder)
    videos = {episode: folder / "videos" / episode.video_name for episode in result.episodes}
    return EvaluationSection(
        result,
        instructions={episode.task: episode.instruction for episode in result.episodes},
        seeds=f"{_split(result.episodes)} seeds {seed_ranges(episode.seed for episode in result.episodes)}",
        rollouts=[
            Rollout(data_url("video/mp4", file.read_bytes()), episode)
            for episode, file in videos.items()
            if file.is_file()
        ],
        failed=[episode for episode in result.episodes if episode.error is not None],
    )


def _split(episodes: Iterable[Episode]) -> str:
    return "test" if all(episode.seed in seeds("test") for episode in episodes) else "training"


def _training(run: Path) -> TrainingSection:
    return TrainingSection(
        curves=draw_curves(read_metrics(run)),
        config=dict(_flat(_read(run / "config.json"))),
        versions=_read(run / "versions.json"),
    )


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"{file} does not exist; give the output folder of a training run")
    values: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return values


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "interval": _interval, "plain": _plain, "svg": Markup}
    return environment.from_string(files("thinkvla.evaluate").joinpath("report.html").read_text("utf-8"))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}\u202f%"


def _interval(rate: Rate) -> str:
    return f"{100 * rate.low:.1f}–{100 * rate.high:.1f}\u202f%"


def _plain(value: Any) -> str:
    """An option's value as a person would write it."""
    if value is None or value in ((), []):
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
