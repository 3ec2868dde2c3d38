"""Drawings as inline SVG that takes its colours and font from the page, so that it suits light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

SERIES = 6
"""Colours that tell policies or runs apart; more of them begin again with the first."""
# Stand-ins that matplotlib understands, replaced by what only a browser does.
INK, GRID = "#010101", "#020202"
_SERIES = tuple(f"#0303{number + 1:02x}" for number in range(SERIES))
_PAGE = {INK: "currentColor", GRID: "var(--line)"} | {c: f"var(--series-{n + 1})" for n, c in enumerate(_SERIES)}


def series_colour(number: int) -> str:
    """The colour of the ``number``-th policy or run, for matplotlib."""
    return _SERIES[number % SERIES]


class Drawing:
    """A figure with one set of axes in the page's style; ``svg`` holds the drawing once its context has ended."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.svg = ""


@contextmanager
def drawing(key: str, description: str, size: tuple[float, float]) -> Iterator[Drawing]:
    """Draw into ``Drawing.axes`` inside the context.

    Args:
        key: different for each drawing of a page: it keeps their ids apart, and repeatable.
        description: what screen readers say.
        size: (width, height) in inches at 8.5 pt text; the drawing scales with the page.
    """
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": key, "font.size": 8.5}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.tick_params(colors=INK, length=0)
        result = Drawing(axes)
        yield result
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    result.svg = _inline(buffer.getvalue(), description)


def _inline(svg: str, description: str) -> str:
    """The bare ``<svg>`` element, scaling with the page and described for screen readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)
    svg = re.sub(r"font-family: [^;]*;", "", svg)  # so that the page's font is inherited
    for stand_in, colour in _PAGE.items():
        svg = svg.replace(stand_in, colour)
    return svg
