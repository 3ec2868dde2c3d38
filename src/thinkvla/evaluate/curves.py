"""Training curves: what runs logged, one drawing for each quantity, the runs over each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from thinkvla.evaluate.drawing import drawing, series_colour

METRICS_FILE = "metrics.jsonl"
SIMILARITY = "anchor_similarity"
TITLES = {
    "loss": "Total loss",
    "loss/action": "Action loss",
    "held_out/action": "Held-out action error",
    "loss/geometry": "Geometry loss",
    "loss/reasoning": "Reasoning loss",
    "loss/language": "Language loss",
    SIMILARITY: "Anchor under both prompts, cosine",
    "learning_rate": "Learning rate",
    "samples_per_second": "Samples per second",
    "gradient_norm": "Gradient norm",
    "data_wait": "Share of time waiting for data",
}

Metrics = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Metric name → (steps, values)."""


@dataclass(frozen=True)
class Curve:
    """One logged quantity: its name and title, each run's last smoothed value (None: not logged), and the drawing."""

    name: str
    title: str
    last: tuple[float | None, ...]
    svg: str


def read_metrics(run: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Metric name → (steps, values) from a training run's ``metrics.jsonl``; raises ValueError naming file and line."""
    file = run / METRICS_FILE
    if not file.is_file():
        raise ValueError(f"{file} does not exist; give the output folder of a training run")
    series: dict[str, tuple[list[float], list[float]]] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            step = float(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number}: expected a JSON object with 'step', got {line[:60]!r}") from error
        for name, value in row.items():
            if name not in ("step", "time") and isinstance(value, int | float):
                steps, values = series.setdefault(name, ([], []))
                steps.append(step)
                values.append(float(value))
    if not series:
        raise ValueError(f"{file} holds no metrics")
    return series


def draw_curves(runs: Sequence[Metrics], colours: Sequence[int]) -> list[Curve]:
    """One drawing for each metric, with every run that logged it: losses first, then the rest, in a fixed order.

    ``colours`` are the numbers of the runs' colours on the page.
    """
    order = {name: position for position, name in enumerate(TITLES)}
    names = sorted({name for run in runs for name in run}, key=lambda name: (order.get(name, len(order)), name))
    return [_draw(name, runs, colours) for name in names]


def smooth(values: np.ndarray, span: float) -> np.ndarray:
    """Exponential moving average over about ``span`` values, unbiased at the start."""
    keep = 1 - 1 / max(span, 1.0)
    result, total, weight = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(values):
        total = keep * total + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        result[index] = total / weight
    return result


def _draw(name: str, runs: Sequence[Metrics], colours: Sequence[int]) -> Curve:
    title = TITLES.get(name, name)
    last: list[float | None] = []
    highest = 0.0
    with drawing(name, f"{title} over training steps", (3.6, 2.0)) as result:
        axes = result.axes
        for number, run in zip(colours, runs, strict=True):
            if name not in run:
                last.append(None)
                continue
            steps, values = map(np.asarray, run[name])
            noisy = name != "learning_rate"
            smoothed = smooth(values, span=len(values) / 50) if noisy else values
            if noisy:
                axes.plot(steps, values, color=series_colour(number), linewidth=0.7, alpha=0.3)
            # A quantity measured once is a point, which a line would not show.
            marker = "o" if len(steps) == 1 else None
            axes.plot(steps, smoothed, color=series_colour(number), linewidth=1.6, marker=marker, markersize=4)
            last.append(float(smoothed[-1]))
            highest = max(highest, float(np.quantile(values, 0.98)), float(smoothed.max()))
        if name.startswith(("loss", "held_out")):
            axes.set_ylim(0, 1.08 * highest or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    return Curve(name, title, tuple(last), result.svg)
