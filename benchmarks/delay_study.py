"""Success against delay: the robot holds while the policy thinks, or acts on, with each way to join chunks.

In simulated time (thinkvla.robot.simulated), so the numbers do not depend on the machine:

OMP_NUM_THREADS=1 MUJOCO_GL=egl python benchmarks/delay_study.py --episodes 10 --workers 2

Every episode is written down as it ends, and the same command goes on where it was cut off; a larger ``--episodes``
adds to it. Episode k of every task has the same seed in all cells. It ends with ``results/delay_study.json`` and
``docs/images/delay.png``.

A loop at 10 Hz takes up an answer at the next control step, so with asynchronous modes 50 ms are as 100, 150 as 200
and 250 as 300: those cells are not run twice.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import common
import torch
import tyro

from thinkvla.checkpoint import fingerprint
from thinkvla.deploy import DeployedPolicy, load_policy
from thinkvla.evaluate.intervals import wilson
from thinkvla.progress import progress
from thinkvla.robot.scheduler import ChunkScheduler, Mode
from thinkvla.robot.simulated import run_delayed
from thinkvla.tabletop.seeds import EVALUATION
from thinkvla.tabletop.suites import choose_tasks
from thinkvla.tabletop.world import World

PLOT = Path(__file__).parents[1] / "docs" / "images" / "delay.png"
EPISODES = "episodes.jsonl"
OPEN_LOOP = 8


@dataclass(frozen=True)
class Cell:
    """One point of the plot."""

    mode: Mode
    execute: int
    delay_ms: int


def cells(execute: int) -> list[Cell]:
    """Every point; without a delay, ``switch`` is ``synchronous``."""
    whole_steps = (0, 100, 200, 300)
    return [
        *(Cell("synchronous", execute, delay) for delay in range(0, 301, 50)),
        *(Cell("synchronous", OPEN_LOOP, delay) for delay in whole_steps if execute != OPEN_LOOP),
        *(Cell("switch", execute, delay) for delay in whole_steps[1:]),
        *(Cell("ensemble", execute, delay) for delay in whole_steps),
        *(Cell("rtc", execute, delay) for delay in whole_steps),
    ]


@dataclass(frozen=True)
class Options:
    """What to study.

    Attributes:
        policy: checkpoint folder or name of a shipped policy.
        suite: of tasks.
        episodes: of each task and cell.
        first_seed: episode k has seed first_seed + k.
        execute: actions between two observations that are asked about.
        workers: processes.
        output: folder in which every episode is written down; the study goes on with what is there.
    """

    policy: str = "tabletop_r7"
    suite: str = "object"
    episodes: int = 10
    first_seed: int = EVALUATION.start
    execute: int = 2
    workers: int = 2
    output: Path = Path("runs/delay_study")


_policy: DeployedPolicy


def _load(policy: str) -> None:
    global _policy
    torch.set_num_threads(1)
    _policy = load_policy(policy, device="cpu")


def run_cells(suite: str, name: str, seed: int, todo: Sequence[Cell]) -> list[dict[str, Any]]:
    """The episode of one task and seed, in each cell."""
    (task,) = choose_tasks(suite, [name])
    rows = []
    with World(task) as world:
        for cell in todo:
            scheduler = ChunkScheduler(_policy.chunk, mode=cell.mode, execute=cell.execute)
            episode = run_delayed(world, _policy, scheduler, seed, cell.delay_ms)
            rows.append({"task": name, "seed": seed, **asdict(cell), **asdict(episode)})
    return rows


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["task"], row["seed"], Cell(row["mode"], row["execute"], row["delay_ms"])


def study(options: Options) -> list[dict[str, Any]]:
    """Run what is not there yet; every episode asked for.

    Raises:
        ValueError: the folder holds the episodes of another policy or suite.
    """
    header = {"policy": options.policy, "fingerprint": fingerprint(options.policy), "suite": options.suite}
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / EPISODES
    if not file.exists():
        file.write_text(json.dumps(header) + "\n", "utf-8")
    lines = file.read_text("utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):  # cut off while writing
        lines.pop()
        file.write_text("".join(lines), "utf-8")
    found_header, *found = [json.loads(line) for line in lines]
    if found_header != header:
        raise ValueError(f"{file} holds episodes of {found_header}; this study is of {header}: choose another --output")
    wanted = cells(options.execute)
    done = {_key(row): row for row in found}
    jobs = []
    for seed in range(options.first_seed, options.first_seed + options.episodes):
        for task in choose_tasks(options.suite, ()):
            todo = [cell for cell in wanted if (task.name, seed, cell) not in done]
            if todo:
                jobs.append((task.name, seed, todo))
    pool = ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn"), _load, (options.policy,))
    with pool, progress("episodes") as display, file.open("a", encoding="utf-8") as stream:
        bar = display.add_task("delay study", total=sum(len(todo) for _, _, todo in jobs))
        for future in as_completed([pool.submit(run_cells, options.suite, *job) for job in jobs]):
            for row in future.result():
                done[_key(row)] = row
                stream.write(json.dumps(row) + "\n")
            stream.flush()
            display.advance(bar, len(future.result()))
    seeds = range(options.first_seed, options.first_seed + options.episodes)
    return [row for (_, seed, cell), row in done.items() if seed in seeds and cell in wanted]


def summary(rows: Sequence[dict[str, Any]], wanted: Sequence[Cell]) -> Iterator[dict[str, Any]]:
    """Each cell's success with its Wilson 95 % interval, and how long a success took."""
    for cell in wanted:
        mine = [row for row in rows if _key(row)[2] == cell]
        won = [row for row in mine if row["success"]]
        low, high = wilson(len(won), len(mine))
        yield {
            **asdict(cell),
            "successes": len(won),
            "episodes": len(mine),
            "low": round(low, 4),
            "high": round(high, 4),
            "median_seconds_to_success": statistics.median(row["milliseconds"] for row in won) / 1000 if won else None,
            "mean_share_held": round(statistics.mean(row["held_ms"] / row["milliseconds"] for row in mine), 3),
        }


def plot(figures: Sequence[dict[str, Any]], file: Path) -> None:
    """Success, and seconds to success, against delay."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8.4, 3.4), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    lines = list(dict.fromkeys((row["mode"], row["execute"]) for row in figures))
    for number, (mode, execute) in enumerate(lines):
        points = [row for row in figures if (row["mode"], row["execute"]) == (mode, execute)]
        if mode == "switch":  # without a delay it is the same as synchronous
            points = [row for row in figures if row == figures[0]] + points
        at = [row["delay_ms"] + 3 * (number - (len(lines) - 1) / 2) for row in points]
        rates = [row["successes"] / row["episodes"] for row in points]
        reach = [[rate - row["low"] for rate, row in zip(rates, points, strict=True)]]
        reach.append([row["high"] - rate for rate, row in zip(rates, points, strict=True)])
        label = f"{mode}, {execute} of each chunk" if mode == "synchronous" else f"asynchronous, {mode}"
        left.errorbar(at, rates, yerr=reach, marker="o", markersize=4, linewidth=1.2, capsize=2, label=label)
        timed = [row for row in points if row["median_seconds_to_success"] is not None]
        right.plot(
            [row["delay_ms"] for row in timed],
            [row["median_seconds_to_success"] for row in timed],
            marker="o",
            markersize=4,
            linewidth=1.2,
        )
    left.set(xlabel="delay, ms", ylabel="success", ylim=(-0.02, 1.02))
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.set(xlabel="delay, ms", ylabel="median seconds to success", ylim=(0, None))
    for axes in (left, right):
        axes.grid(axis="y", linewidth=0.5, alpha=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(file)


def main(options: Options) -> None:
    """Run the study, write its figures and its plot."""
    rows = study(options)
    figures = list(summary(rows, cells(options.execute)))
    asked = {name: value for name, value in asdict(options).items() if name not in ("output", "workers")}
    common.write("delay_study", {**asked, "cells": figures})
    plot(figures, PLOT)


if __name__ == "__main__":
    main(tyro.cli(Options))
