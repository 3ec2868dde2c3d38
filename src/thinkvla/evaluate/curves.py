"""Training curves as inline SVG that takes its colours from the page, so that they suit light and dark."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

METRICS_FILE = "metrics.jsonl"
# Stand-ins that matplotlib understands, replaced by what only a browser does.
PAGE_COLOURS = {"#010101": "currentColor", "#020202": "var(--accent)", "#030303": "var(--line)"}
INK, ACCENT, GRID = PAGE_COLOURS
TITLES = {
    "loss": "Total loss",
    "loss/action": "Action loss",
    "loss/geometry": "Geometry loss",
    "loss/reasoning": "Reasoning loss",
    "loss/language": "Language loss",
    "learning_rate": "Learning rate",
    "samples_per_second": "Samples per second",
    "gradient_norm": "Gradient norm",
    "data_wait": "Share of time waiting for data",
}


@dataclass(frozen=True)
class Curve:
    """One logged quantity: its title, its last smoothed value and its drawing."""

    title: str
    last: float
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


def draw_curves(metrics: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> list[Curve]:
    """One drawing for each metric: losses first, then the rest, in a fixed order."""
    order = {name: position for position, name in enumerate(TITLES)}
    names = sorted(metrics, key=lambda name: (order.get(name, len(order)), name))
    return [_draw(name, *map(np.asarray, metrics[name])) for name in names]


def smooth(values: np.ndarray, span: float) -> np.ndarray:
    """Exponential moving average over about ``span`` values, unbiased at the start."""
    keep = 1 - 1 / max(span, 1.0)
    result, total, weight = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(values):
        total = keep * total + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        result[index] = total / weight
    return result


def _draw(name: str, steps: np.ndarray, values: np.ndarray) -> Curve:
    noisy = name != "learning_rate"
    smoothed = smooth(values, span=len(values) / 50) if noisy else values
    title = TITLES.get(name, name)
    # Text stays text (the page's font); the salt keeps the ids of several drawings on a page apart, and repeatable.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 8.5}):
        figure = Figure(figsize=(3.6, 2.0), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        if noisy:
            axes.plot(steps, values, color=ACCENT, linewidth=0.7, alpha=0.3)
        axes.plot(steps, smoothed, color=ACCENT, linewidth=1.6)
        if name.startswith("loss"):
            axes.set_ylim(0, 1.08 * max(np.quantile(values, 0.98), smoothed.max()) or 1.0)
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.tick_params(colors=INK, length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Curve(title, float(smoothed[-1]), _inline(buffer.getvalue(), title))


def _inline(svg: str, title: str) -> str:
    """The bare ``<svg>`` element, scaling with the page and described for screen readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{title} over training steps"', 1)
    svg = re.sub(r"font-family: [^;]*;", "", svg)  # so that the page's font is inherited
    for stand_in, colour in PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg
