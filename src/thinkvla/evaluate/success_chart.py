"""Success by perturbation and level as drawings: one an axis, policies beside each other, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MultipleLocator, PercentFormatter

from thinkvla.evaluate.comparison import Column, Comparison
from thinkvla.evaluate.drawing import drawing, series_colour
from thinkvla.evaluate.results import Rate

_SPREAD = 0.5
"""Part of the way between two levels over which the policies' bars stand."""


@dataclass(frozen=True)
class Chart:
    """One axis of perturbation and its drawing."""

    title: str
    svg: str


def draw_success(comparison: Comparison) -> list[Chart]:
    """One chart for each axis: level 0 is plain scenes of the suites in which the axis was evaluated."""
    return [_draw(axis, comparison.columns) for axis in comparison.perturbations]


def _draw(axis: str, columns: Sequence[Column]) -> Chart:
    cells = [cell for column in columns for cell in column.episodes if cell[1] == axis]
    suites, levels = {cell[0] for cell in cells}, sorted({cell[2] for cell in cells})
    step = _SPREAD / max(len(columns), 1)
    with drawing(f"success-{axis}", f"Success under perturbation of {axis} by level", (3.6, 2.1)) as result:
        axes = result.axes
        for number, column in enumerate(columns):
            rates: list[tuple[int, Rate | None]] = [(0, column.rate(suites, None, 0))]
            rates += [(level, column.rate(suites, axis, level)) for level in levels]
            known = [(level, rate) for level, rate in rates if rate is not None and rate.value is not None]
            if not known:
                continue
            places = [level + (number - (len(columns) - 1) / 2) * step for level, _ in known]
            values = [rate.successes / rate.episodes for _, rate in known]
            reach = [[v - r.low for v, (_, r) in zip(values, known, strict=True)]]
            reach.append([r.high - v for v, (_, r) in zip(values, known, strict=True)])
            colour = series_colour(number)
            axes.errorbar(places, values, yerr=reach, color=colour, marker="o", markersize=4, linewidth=1.2, capsize=2)
        axes.set_ylim(-0.03, 1.05)
        axes.set_xlim(-0.5, max(levels) + 0.5)
        axes.xaxis.set_major_locator(MultipleLocator(1))
        axes.set_xticks([0, *levels], ["plain", *(f"level {level}" for level in levels)])
        axes.yaxis.set_major_locator(MultipleLocator(0.25))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return Chart(axis, result.svg)
