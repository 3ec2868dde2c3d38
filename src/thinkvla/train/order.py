"""Endless streams of sample numbers, each a pure function of seed and position."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=8)
def _order(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(length)


def shuffled(position: int, length: int, seed: int) -> int:
    """Sample at ``position`` of an endless stream: every epoch is a permutation of its own."""
    epoch, place = divmod(position, length)
    return int(_order(length, seed, epoch)[place])


def interleaved(position: int, share: float) -> tuple[bool, int]:
    """Two streams mixed evenly: whether ``position`` belongs to the first, whose share it is, and its place there.

    Among the first n positions the first stream has round-down(n · share), whatever n.
    """
    before = int(position * share + 1e-9)
    first = int((position + 1) * share + 1e-9) > before
    return first, before if first else position - before


def mixed(position: int, weights: Sequence[float]) -> tuple[int, int]:
    """Several streams mixed evenly by weight: which of them ``position`` belongs to, and its place there.

    The first against the rest, the next against what is left then, and so on; each stream's places are consecutive.
    """
    for number in range(len(weights) - 1):
        first, position = interleaved(position, weights[number] / sum(weights[number:]))
        if first:
            return number, position
    return len(weights) - 1, position
