"""Crops as augmentation: a random window of each view in training, the middle one at deployment.

A window is (top, left, height, width) in shares of the view. It keeps the view's aspect, is resized to the view's own
size, and the geometry teacher's grid is read at the same window (``method/geometry.py``), so that targets stay where
the patches are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from thinkvla.contract import Image


def check_area(area: float) -> None:
    """Raise ValueError unless ``area`` is a share of a view."""
    if not 0 < area <= 1:
        raise ValueError(f"data.crop is {area}; expected the share of a view that a crop keeps, 0 < crop <= 1")


def middle_window(area: float) -> tuple[float, float, float, float]:
    """The window in the middle of a view, of this share of its area."""
    side = math.sqrt(area)
    return ((1 - side) / 2, (1 - side) / 2, side, side)


def random_windows(area: float, views: int, seed: tuple[int, ...]) -> NDArray[np.float32]:
    """A window of this share of the area for each view, anywhere with equal chance: (V, 4), the same for one seed."""
    side = math.sqrt(area)
    corners = np.random.default_rng(seed).uniform(0, 1 - side, (views, 2))
    return np.concatenate([corners, np.full((views, 2), side)], axis=1).astype(np.float32)


def cropped(image: Image, window: Sequence[float]) -> Image:
    """The window of a (H, W, 3) view at the view's own size, bilinear."""
    height, width = image.shape[:2]
    top, left, rows, columns = window
    box = (left * width, top * height, (left + columns) * width, (top + rows) * height)
    return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR, box=box))
