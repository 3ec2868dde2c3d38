"""Many evaluations brought together: success by suite, task and perturbation, policies side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinkvla.evaluate.names import policy_names
from thinkvla.evaluate.results import Episode, EvaluationResult, Rate
from thinkvla.evaluate.run import EXPERT
from thinkvla.tabletop.seeds import seeds

Cell = tuple[str, str | None, int]
"""Suite, axis of the perturbation (None: plain scenes) and its level."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation's result, and the folder it is in."""

    result: EvaluationResult
    folder: Path

    @staticmethod
    def load(folder: Path) -> Evaluation:
        """Read an evaluation's folder; raises ValueError naming the file when it is not one."""
        return Evaluation(EvaluationResult.load(folder), folder)


@dataclass(frozen=True)
class Column:
    """One policy as it was evaluated, with all results of it.

    Attributes:
        name: short, different from the other columns'.
        evaluations: in the order they were given.
        episodes: (suite, axis, level) → its episodes; one that was evaluated twice counts once.
    """

    name: str
    evaluations: tuple[Evaluation, ...]
    episodes: Mapping[Cell, tuple[Episode, ...]] = field(repr=False)

    def rate(self, suites: Iterable[str], axis: str | None, level: int | None, task: str | None = None) -> Rate | None:
        """Success over suites on an axis (None: plain scenes), at one level or all (None), on one task or all.

        None when nothing of it was evaluated.
        """
        wanted = set(suites)
        chosen = [
            episode
            for (suite, perturbation, strength), episodes in self.episodes.items()
            if suite in wanted and perturbation == axis and level in (None, strength)
            for episode in episodes
            if task in (None, episode.task)
        ]
        return Rate.of(chosen) if chosen else None


@dataclass(frozen=True)
class Row:
    """One line of a table: a name and each column's rate, None where a policy was not evaluated."""

    name: str
    rates: tuple[Rate | None, ...]


@dataclass(frozen=True)
class SuiteTable:
    """One suite: plain success in all and task by task, then each perturbation and level."""

    name: str
    total: Row
    tasks: tuple[Row, ...]
    perturbations: tuple[Row, ...]


@dataclass(frozen=True)
class Comparison:
    """All evaluations of a report.

    Attributes:
        columns: the policies.
        suites: each suite's tables.
        total: success on all suites' plain scenes together.
        perturbations: axis → a row a level (and its mean), all suites together; empty without perturbed scenes.
        alike: whether all policies were evaluated on the same episodes.
    """

    columns: tuple[Column, ...]
    suites: tuple[SuiteTable, ...]
    total: Row
    perturbations: Mapping[str, tuple[Row, ...]]
    alike: bool


def compare(evaluations: Sequence[Evaluation], names: Mapping[str, str]) -> Comparison:
    """Bring evaluations together.

    Args:
        evaluations: in the order in which policies and suites are to be shown; the expert comes last.
        names: path of a checkpoint → what to call it, for those that should not have the name of their path.
    """
    columns = _columns(evaluations, names)
    suites = list(dict.fromkeys(one.result.suite for one in evaluations))
    axes = list(dict.fromkeys(axis for one in evaluations if (axis := one.result.perturbation) is not None))
    return Comparison(
        columns=columns,
        suites=tuple(_suite(name, columns, axes) for name in suites),
        total=Row("all suites", tuple(column.rate(suites, None, 0) for column in columns)),
        perturbations={axis: tuple(_levels(axis, suites, columns, with_all=True)) for axis in axes},
        alike=len({_scenes(column) for column in columns}) < 2,
    )


def seed_ranges(numbers: Iterable[int]) -> str:
    """Seeds in words, runs joined: ``1 000 000–1 000 019, 1 000 050``."""
    runs: list[list[int]] = []
    for seed in sorted(set(numbers)):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1][1:] = [seed]
        else:
            runs.append([seed])
    return ", ".join("–".join(f"{seed:,}".replace(",", "\u202f") for seed in run) for run in runs)


def split(episodes: Iterable[Episode]) -> str:
    """Whether episodes are of the test split: ``test``, else ``training``."""
    return "test" if all(episode.seed in seeds("test") for episode in episodes) else "training"


def _columns(evaluations: Sequence[Evaluation], names: Mapping[str, str]) -> tuple[Column, ...]:
    """Evaluations of one checkpoint, run in one way, together."""
    groups: dict[tuple[str, str | None, Any], list[Evaluation]] = {}
    for one in evaluations:
        key = (one.result.policy, one.result.fingerprint, one.result.options.get("execute"))
        groups.setdefault(key, []).append(one)
    short = policy_names({policy: None for policy, _, _ in groups}) | dict(names)
    columns = []
    for (policy, fingerprint, execute), members in groups.items():
        name = short[policy]
        same = [other for other in groups if short[other[0]] == name]
        if len({other[:2] for other in same}) > 1:
            name += f" {fingerprint[:6]}" if fingerprint else ""
        if len({other[2] for other in same}) > 1:
            name += f", {execute} of a chunk"
        columns.append(Column(name, tuple(members), _episodes(members)))
    # The expert reads the simulator's truth; it stands beside the policies for comparison.
    return tuple(sorted(columns, key=lambda column: column.evaluations[0].result.policy == EXPERT))


def _episodes(evaluations: Iterable[Evaluation]) -> dict[Cell, tuple[Episode, ...]]:
    found: dict[Cell, dict[tuple[str, int], Episode]] = {}
    for result in (one.result for one in evaluations):
        cell = found.setdefault((result.suite, result.perturbation, result.level), {})
        for episode in result.episodes:
            cell.setdefault((episode.task, episode.seed), episode)
    return {cell: tuple(episodes.values()) for cell, episodes in found.items()}


def _suite(name: str, columns: Sequence[Column], axes: Sequence[str]) -> SuiteTable:
    told: dict[str, set[str]] = {}
    for column in columns:
        for episode in column.episodes.get((name, None, 0), ()):
            told.setdefault(episode.task, set()).add(episode.instruction)
    tasks = [
        Row(_title(task, instructions), tuple(column.rate([name], None, 0, task) for column in columns))
        for task, instructions in told.items()
    ]
    rows = [row for axis in axes for row in _levels(axis, [name], columns, with_all=False)]
    return SuiteTable(name, Row(name, tuple(c.rate([name], None, 0) for c in columns)), tuple(tasks), tuple(rows))


def _title(task: str, instructions: set[str]) -> str:
    """A task's instruction; its name where every scene words it differently."""
    return next(iter(instructions)) if len(instructions) == 1 else task.replace("_", " ")


def _levels(axis: str, suites: Sequence[str], columns: Sequence[Column], *, with_all: bool) -> list[Row]:
    """A row for each level that was evaluated, and one for all of them if wanted and there are several."""
    levels = sorted(
        {cell[2] for column in columns for cell in column.episodes if cell[0] in suites and cell[1] == axis}
    )
    rows = [Row(f"{axis} {level}", tuple(c.rate(suites, axis, level) for c in columns)) for level in levels]
    if with_all and len(levels) > 1:
        rows.append(Row(f"{axis}, all levels", tuple(column.rate(suites, axis, None) for column in columns)))
    return rows


def _scenes(column: Column) -> frozenset[tuple[Cell, str, int]]:
    return frozenset((cell, e.task, e.seed) for cell, episodes in column.episodes.items() for e in episodes)
