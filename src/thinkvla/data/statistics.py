"""Exact statistics of a data set's features, gathered as episodes stream by, and whether they are fresh.

Written in LeRobot's form (``min, max, mean, std, count, q01, q10, q50, q90, q99`` per feature; image
channels as (3, 1, 1) in [0, 1]). LeRobot estimates quantiles from histograms and samples image pixels; here
every value counts: vectors are kept until the end, and the 256 levels of an 8-bit image make its histogram
exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of one feature over a data set.

    Attributes:
        values: ``min, max, mean, std, q01, q10, q50, q90, q99`` → float64 array, (D,) for vectors and (3,
            1, 1) for images.
        count: number of frames.
    """

    values: Mapping[str, NDArray[np.float64]]
    count: int

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """One statistic by name; raises ValueError naming those that exist."""
        if name not in self.values:
            raise ValueError(f"statistics have no '{name}'; there are {sorted(self.values)}. Refresh the statistics.")
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        """Nested lists, LeRobot's JSON form."""
        return {name: value.tolist() for name, value in self.values.items()} | {"count": [self.count]}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> FeatureStatistics:
        """The inverse of :meth:`to_dict`; raises KeyError without ``count``."""
        arrays = {k: np.atleast_1d(np.asarray(v, dtype=np.float64)) for k, v in values.items() if k != "count"}
        return FeatureStatistics(arrays, int(np.ravel(values["count"])[0]))


class VectorStatistics:
    """Gathers (N, D) or (N,) values, any number of times; keeps them, so that quantiles are exact."""

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []

    def add(self, values: NDArray[Any]) -> None:
        """Take in the values of N more frames, (N, D), or (N,) for a scalar feature."""
        self._parts.append(values.reshape(len(values), -1).copy())

    def result(self) -> FeatureStatistics:
        """Statistics of everything so far, float64; quantiles interpolate linearly, std divides by N."""
        values = np.concatenate(self._parts).astype(np.float64)
        statistics = {
            "min": values.min(0),
            "max": values.max(0),
            "mean": values.mean(0),
            "std": values.std(0),
        }
        quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
        return FeatureStatistics(statistics | dict(zip(QUANTILES, quantiles, strict=True)), len(values))


class ImageStatistics:
    """Gathers uint8 images as one 256-level histogram per channel: bounded memory, exact results."""

    def __init__(self) -> None:
        self._histogram = np.zeros((3, 256), dtype=np.int64)
        self._count = 0

    def add(self, images: NDArray[Any]) -> None:
        """Take in N more images, (N, H, W, 3) uint8."""
        for channel in range(3):
            self._histogram[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
        self._count += len(images)

    def result(self) -> FeatureStatistics:
        """Per channel, values / 255, each (3, 1, 1); a quantile is the smallest level that reaches it."""
        levels = np.arange(256) / 255.0
        share = self._histogram / self._histogram.sum(axis=1, keepdims=True)
        mean = share @ levels
        cumulative = np.cumsum(self._histogram, axis=1)
        present = self._histogram > 0
        statistics = {
            "min": levels[present.argmax(axis=1)],
            "max": levels[255 - present[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1)),
        }
        for name, quantile in QUANTILES.items():
            reached = cumulative >= quantile * cumulative[:, -1:]
            statistics[name] = levels[reached.argmax(axis=1)]
        return FeatureStatistics({k: v.reshape(3, 1, 1) for k, v in statistics.items()}, self._count)


def source_fingerprint(actions: NDArray[np.float32]) -> str:
    """Identifies the (N, D) actions that statistics were computed from: same values in the same order."""
    content = np.ascontiguousarray(actions, dtype="<f4").tobytes() + repr(actions.shape).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def check_fresh(recorded: str, actions: NDArray[np.float32], where: str) -> None:
    """Raise ValueError unless ``recorded`` is the fingerprint of ``actions``; ``where`` names their file."""
    if recorded != source_fingerprint(actions):
        raise ValueError(
            f"{where}: the statistics were computed from other actions than the data set now holds; a policy "
            "would be normalized wrongly; run 'thinkvla data refresh' on the data set"
        )
