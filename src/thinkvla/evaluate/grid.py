"""A grid of evaluations: one policy on suites of one or several benchmarks, plain and along axes of perturbation.

They run one after the other. Each evaluation has a folder of its own below the grid's, ``<suite>/plain`` or
``<suite>/<axis>-<level>``. A grid that was stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from thinkvla.evaluate.benchmark import Benchmark
from thinkvla.evaluate.benchmarks import find_benchmark
from thinkvla.evaluate.options import EvaluateOptions, Evaluation
from thinkvla.evaluate.results import FILE_NAME, EvaluationResult
from thinkvla.evaluate.run import ASKED, EXPERT, HARNESS, VIDEOS, check, evaluate, evaluate_policy
from thinkvla.evaluate.tabletop import TABLETOP
from thinkvla.perturbation import LEVELS

FORMAT = "thinkvla-grid/1"
GRID_FILE = "grid.json"
NONE = "none"
"""What ``perturbations`` calls plain scenes."""


@dataclass(frozen=True)
class GridOptions:
    """What to evaluate, on which grid, and where the results go.

    Attributes:
        checkpoint: folder of a checkpoint, name of a shipped policy, or ``expert`` for the scripted expert.
        output: folder of the grid; evaluations complete there are not run again.
        benchmark: names of benchmarks; each suite of LIBERO is one.
        suites: names of suites of tabletop; other benchmarks are one suite each.
        perturbations: axes along which scenes are perturbed; ``none`` is plain scenes.
        levels: strengths of each perturbation.
        episodes: episodes of each task in each evaluation; episode k of every task has seed first_seed + k.
        first_seed: default: the benchmark's, as of ``thinkvla eval``.
        workers: simulator processes.
        execute: actions executed of each chunk before the policy looks again; default: the whole chunk.
        videos: most rollouts to film in each evaluation of a benchmark that makes videos.
    """

    checkpoint: tyro.conf.Positional[str]
    output: Path
    benchmark: tuple[str, ...] = (TABLETOP.name,)
    suites: tuple[str, ...] = (TABLETOP.suite,)
    perturbations: tuple[str, ...] = (NONE,)
    levels: tuple[int, ...] = LEVELS
    episodes: int = 5
    first_seed: int | None = None
    workers: int = 2
    execute: int | None = None
    videos: int = 2


@dataclass(frozen=True)
class GridRow:
    """What one evaluation of the grid found.

    Attributes:
        suite: name of the suite.
        axis: axis of the perturbation; None for plain scenes.
        level: its level; 0 for plain scenes.
        successes: episodes that succeeded.
        episodes: episodes that ran.
        errors: episodes that ended in an error, which are not among ``episodes``.
        low: lower end of Wilson's 95 % interval of the success rate, in [0, 1].
        high: its upper end.
    """

    suite: str
    axis: str | None
    level: int
    successes: int
    episodes: int
    errors: int
    low: float
    high: float

    @staticmethod
    def of(result: EvaluationResult) -> GridRow:
        """The row of an evaluation."""
        rate = result.total
        counts = (rate.successes, rate.episodes, rate.errors, rate.low, rate.high)
        return GridRow(result.suite, result.perturbation, result.level, *counts)


def run_grid(options: GridOptions) -> list[GridRow]:
    """Run what the grid lacks, and write its rows to ``grid.json`` after each evaluation.

    Raises:
        ValueError: options do not fit, or an evaluation in the output folder was made with others.
        ContractError: the checkpoint is for another robot.
        RuntimeError: no episode of an evaluation could be started.
    """
    cells = [check(cell)[1] for cell in _cells(options)]
    policy = _load(options.checkpoint)
    done = [_finished(cell, policy) for cell in cells]
    console = Console(stderr=True)
    rows: list[GridRow] = []
    missing, ran, started = done.count(None), 0, time.monotonic()
    for number, (cell, result) in enumerate(zip(cells, done, strict=True), start=1):
        title = f"{number} of {len(cells)}: {cell.suite}, {cell.output.name}"
        if result is None:
            left = f", about {_duration((time.monotonic() - started) / ran * (missing - ran))} left" if ran else ""
            console.rule(title + left)
            _clear(cell.output)
            result = policy.evaluate(cell)
            ran += 1
        else:
            console.print(f"{title} is complete", highlight=False)
        rows.append(GridRow.of(result))
        _write(options, policy.fingerprint, rows)
    return rows


def grid_table(rows: Iterable[GridRow]) -> Table:
    """The rows for a terminal: success rates with their intervals."""
    table = Table("suite", "perturbation", "level", "succeeded", "rate", "95 % interval", "errors")
    for row in rows:
        table.add_row(
            row.suite,
            row.axis or NONE,
            str(row.level) if row.axis else "",
            f"{row.successes} of {row.episodes}",
            f"{100 * row.successes / row.episodes:.1f} %" if row.episodes else "–",
            f"{100 * row.low:.1f}–{100 * row.high:.1f} %",
            str(row.errors) if row.errors else "",
        )
    return table


def _cells(options: GridOptions) -> list[EvaluateOptions]:
    """The evaluations of the grid, suite by suite; raises ValueError for a doubled or missing choice."""
    for field in ("benchmark", "suites", "perturbations", "levels"):
        values: Sequence[object] = getattr(options, field)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{field} are {list(values)}; give at least one, and each once")
    cells: list[EvaluateOptions] = []
    for benchmark, suite in _suites(options):
        for axis in options.perturbations:
            for level in (0,) if axis == NONE else options.levels:
                name = "plain" if axis == NONE else f"{axis}-{level}"
                cells.append(
                    EvaluateOptions(
                        checkpoint=options.checkpoint,
                        output=options.output / (suite or benchmark.name) / name,
                        benchmark=benchmark.name,
                        suite=suite,
                        episodes=options.episodes,
                        first_seed=options.first_seed,
                        workers=options.workers,
                        execute=options.execute,
                        videos=options.videos if benchmark.videos else None,
                        perturbation=None if axis == NONE else axis,
                        level=level,
                    )
                )
    return cells


def _suites(options: GridOptions) -> list[tuple[Benchmark, str | None]]:
    """Benchmarks, each with the suite to ask of it: None where it is one. Raises ValueError for suites of none."""
    found: list[tuple[Benchmark, str | None]] = []
    for benchmark in map(find_benchmark, options.benchmark):
        found += [(benchmark, suite) for suite in (options.suites if "suite" in benchmark.takes else (None,))]
    if options.suites != GridOptions.suites and all(suite is None for _, suite in found):
        raise ValueError(
            f"suites are {list(options.suites)}, but {', '.join(options.benchmark)} has none; leave --suites away"
        )
    return found


@dataclass(frozen=True)
class _Policy:
    """A policy loaded once for the whole grid.

    Attributes:
        evaluate: runs one evaluation of it.
        fingerprint: of the checkpoint; None for the expert.
        chunk: actions in its chunks; None for the expert, whose are the benchmark's.
    """

    evaluate: Callable[[EvaluateOptions], EvaluationResult]
    fingerprint: str | None
    chunk: int | None


def _load(checkpoint: str) -> _Policy:
    if checkpoint == EXPERT:
        return _Policy(evaluate, None, None)
    from thinkvla.checkpoint import fingerprint  # torch is needed for a checkpoint only
    from thinkvla.deploy import load_policy

    policy, digest = load_policy(checkpoint), fingerprint(checkpoint)
    return _Policy(lambda cell: evaluate_policy(policy, cell, digest), digest, policy.chunk)


def _finished(cell: Evaluation, policy: _Policy) -> EvaluationResult | None:
    """The result of a cell that is complete; raises ValueError when it was made with other options."""
    if not (cell.output / FILE_NAME).is_file():
        return None
    result = EvaluationResult.load(cell.output)
    chunk = find_benchmark(cell.benchmark).expert_policy(cell).chunk if policy.chunk is None else policy.chunk
    asked: dict[str, Any] = {
        "fingerprint": policy.fingerprint,
        "tasks": [],
        "episodes": cell.episodes,
        "first_seed": cell.first_seed,
        "execute": chunk if cell.execute is None else cell.execute,
    }
    made = {**result.options, "fingerprint": result.fingerprint}
    different = [f"{name} was {made[name]}, now is {value}" for name, value in asked.items() if made[name] != value]
    if different:
        raise ValueError(
            f"{cell.output} was made with other options: {', '.join(different)}; give those, or another output folder"
        )
    return result


def _clear(folder: Path) -> None:
    """Remove what an evaluation that was stopped has left; raises ValueError when anything else is there."""
    if not folder.exists():
        return
    foreign = sorted({path.name for path in folder.iterdir()} - {ASKED, HARNESS, VIDEOS})
    if foreign:
        raise ValueError(f"{folder} holds {foreign}, which no evaluation writes; remove it or choose another output")
    shutil.rmtree(folder)


def _write(options: GridOptions, fingerprint: str | None, rows: Sequence[GridRow]) -> None:
    values = {
        "format": FORMAT,
        "policy": options.checkpoint,
        "fingerprint": fingerprint,
        "options": {**asdict(options), "output": str(options.output)},
        "rows": [asdict(row) for row in rows],
    }
    (options.output / GRID_FILE).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(minutes, 1)} min"
