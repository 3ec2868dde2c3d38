"""Sheets of pictures: rows of views, columns of what is shown of them, with words above and beside.

A sheet has its own dark ground, so that it looks the same on any page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps, get_data_path
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from thinkvla.contract import Image

_GROUND, _INK, _SOFT = (24, 27, 31), (236, 238, 240), (158, 166, 174)
_GAP, _HEADING, _NOTE, _SIDE = 8, 22, 18, 58


@dataclass(frozen=True)
class Column:
    """One column of a sheet: a heading, and for each row a picture (H, W, 3) with a note below it (empty: none)."""

    heading: str
    pictures: Sequence[Image]
    notes: Sequence[str]


def sheet(rows: Sequence[str], columns: Sequence[Column]) -> Image:
    """Columns side by side under their headings; ``rows`` names the rows. All pictures have one size."""
    height, width = columns[0].pictures[0].shape[:2]
    step = height + _NOTE + _GAP
    size = (_SIDE + len(columns) * (width + _GAP), _HEADING + _GAP + len(rows) * step)
    page = Pillow.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(page)
    large, small = _font(12), _font(10)
    for place, name in enumerate(rows):
        draw.text((_GAP, _HEADING + _GAP + place * step), name, _SOFT, large)
    for place, column in enumerate(columns):
        left = _SIDE + place * (width + _GAP)
        draw.text((left, _GAP), _fitting(draw, column.heading, large, width), _INK, large)
        for row, (picture, note) in enumerate(zip(column.pictures, column.notes, strict=True)):
            top = _HEADING + _GAP + row * step
            page.paste(Pillow.fromarray(picture), (left, top))
            draw.text((left, top + height + 3), note, _SOFT, small)
    return np.asarray(page)


def heat(picture: Image, strength: NDArray[np.floating]) -> Image:
    """A picture (H, W, 3) that glows where ``strength`` (h, w) is 1, and is grey where it is 0 or less."""
    smooth = _enlarged(np.clip(strength, 0, 1), picture.shape[:2], Pillow.Resampling.BILINEAR)
    glow = colormaps["inferno"](0.35 + 0.6 * smooth)[..., :3] * 255
    # The rest loses its colours, so that what glows is not mistaken for a red cube.
    grey = 0.6 * picture.mean(axis=-1, keepdims=True)
    share = 0.85 * smooth[..., None] ** 0.7
    drawn: Image = (grey * (1 - share) + glow * share).astype(np.uint8)
    return drawn


def shades(values: NDArray[np.floating], low: float, high: float, size: tuple[int, int]) -> Image:
    """Values (h, w) as shades from ``low`` (dark) to ``high`` (bright), one square each: (height, width, 3)."""
    return colours(colormaps["viridis"]((values - low) / max(high - low, 1e-9))[..., :3], size)


def colours(values: NDArray[np.floating], size: tuple[int, int]) -> Image:
    """Colours (h, w, 3), clipped to [0, 1], one square each: (height, width, 3)."""
    channels = [_enlarged(values[..., channel], size, Pillow.Resampling.NEAREST) for channel in range(3)]
    drawn: Image = (np.clip(np.stack(channels, axis=-1), 0, 1) * 255).astype(np.uint8)
    return drawn


def _enlarged(
    values: NDArray[np.floating], size: tuple[int, int], resampling: Pillow.Resampling
) -> NDArray[np.float32]:
    height, width = size
    return np.asarray(Pillow.fromarray(values.astype(np.float32)).resize((width, height), resampling))


def _font(size: int) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib and knows × and “ ”, which Pillow's own does not."""
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    """As much of a heading as fits: its end, which tells runs of one family apart."""
    while draw.textlength(text, font) > room:
        text = "…" + text.lstrip("…")[1:]
    return text
