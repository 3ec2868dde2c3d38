"""Features as rows of signed bytes with one scale each: a quarter of float32's size.

A row is the feature of one patch; its scale is its largest magnitude / 127. Only directions count in the method's loss,
and of the forms tried (``benchmarks/feature_codes.py``) this one turns them least for its size. Each of a row's D
numbers is off by half a step at most, so the cosine to the original is at least 1 − D / (8 · 127²) · (largest /
length)²: all is well unless single channels dwarf the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 127


def row_type(size: int) -> np.dtype[np.void]:
    """One row of ``size`` numbers, scale and values side by side, so that a patch is one read."""
    return np.dtype([("scale", "<f4"), ("values", "i1", (size,))])


def to_rows(features: NDArray[np.float32]) -> NDArray[np.void]:
    """(..., D) float32 features → (...) rows.

    Raises:
        ValueError: a feature is NaN or infinite.
    """
    largest = np.abs(features).max(axis=-1)
    if not np.isfinite(largest).all():
        bad = tuple(int(place) for place in np.argwhere(~np.isfinite(largest))[0])
        raise ValueError(f"the teacher gave a feature that is not finite, at {bad} of {largest.shape}")
    rows = np.empty(largest.shape, row_type(features.shape[-1]))
    rows["scale"] = largest / LEVELS
    rows["values"] = np.rint(features / np.maximum(rows["scale"], np.finfo(np.float32).tiny)[..., None])
    return rows


def from_rows(rows: NDArray[np.void]) -> NDArray[np.float32]:
    """(...) rows → (..., D) float32 features."""
    features: NDArray[np.float32] = rows["values"] * rows["scale"][..., None]
    return features
