"""Which action comes next, when the next chunk is inferred while the current one runs. Pure; knows no clock.

A chunk is the answer to one observation, and its row k is meant for the k-th action after that observation. Steps are
therefore counted in actions given out: a step in which the robot holds counts for nothing, so that a chunk that was
waited for begins with its first row, and one that arrived while d actions ran begins with row d.

What the modes do where the rows of an old and a new chunk meet:

* ``synchronous``: nothing runs while the policy thinks, so nothing meets. The robot holds until the answer is there.
* ``switch``: the new chunk replaces the old one from the moment it arrives.
* ``ensemble``: temporal ensembling (ACT, arXiv 2304.13705, section IV-A). Every step is the mean of all rows for it,
  weighted exp(−decay · i), i = 0 for the oldest chunk.
* ``rtc``: in the style of real-time chunking (arXiv 2506.07339). There a flow policy is guided, while it denoises,
  towards the old chunk with weights W: 1 for the d steps that run during inference (frozen), then falling to 0 where
  the old chunk ends. A regression head has no denoising to guide. What is left is the weighted least-squares solution
  of the same soft constraint, row by row: W · old + (1 − W) · new. So the frozen steps stay frozen and the seam is as
  smooth, but the new chunk's later rows know nothing of the frozen ones, as a guided policy's do. The paper must guess
  d before it infers; here the blend comes after, so d is what really passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from thinkvla.contract import Actions

Mode = Literal["synchronous", "switch", "ensemble", "rtc"]
ENSEMBLE_DECAY = 0.01
"""ACT's: nearly the plain mean."""


def ensembled(chunks: Sequence[tuple[int, Actions]], step: int, decay: float = ENSEMBLE_DECAY) -> Actions | None:
    """The mean of all rows meant for ``step``, older chunks weighing more; None if there is none.

    Args:
        chunks: (step it was observed at, actions (C, A)) of each chunk, oldest first.
        step: the step to act at.
        decay: weights are exp(−decay · i), i = 0 for the oldest chunk with a row for the step.
    """
    rows = [actions[step - start] for start, actions in chunks if 0 <= step - start < len(actions)]
    if not rows:
        return None
    weights = np.exp(-decay * np.arange(len(rows)))
    mean: Actions = (weights @ np.stack(rows) / weights.sum()).astype(np.float32)
    return mean


def frozen_weight(row: int, delay: int, overlap: int) -> float:
    """How much the old chunk counts at a row of the new one: W of arXiv 2506.07339, equation 5.

    Args:
        row: of the new chunk.
        delay: d, actions that ran while it was inferred.
        overlap: rows of it for which the old chunk has an action too (the paper's H − s).
    """
    if row < delay:
        return 1.0
    if row >= overlap:
        return 0.0
    c = (overlap - row) / (overlap - delay + 1)
    return c * math.expm1(c) / math.expm1(1.0)


class ChunkScheduler:
    """Asks for chunks in time and gives out one action after the other.

    Every control step: hand in an answer that has arrived (:meth:`answer`); if :meth:`should_ask`, observe, ask the
    policy and say so (:meth:`ask`); then take :meth:`next`.

    Args:
        chunk: C, actions of a chunk.
        mode: what happens while the policy thinks, and where chunks meet; see the module.
        execute: actions between one observation that is asked about and the next, unless the answer takes longer.
        decay: of ``ensemble``.

    Attributes:
        given: actions given out.

    Raises:
        ValueError: an unknown mode, or ``execute`` not in 1..C.
    """

    def __init__(self, chunk: int, *, mode: Mode, execute: int, decay: float = ENSEMBLE_DECAY) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode is '{mode}'; expected one of {list(get_args(Mode))}")
        if not 1 <= execute <= chunk:
            raise ValueError(f"execute is {execute}; this policy's chunks allow 1 to {chunk} steps")
        self._chunk, self._mode, self._execute, self._decay = chunk, mode, execute, decay
        self.given = 0
        self._asked: int | None = None
        self._pending = False
        self._chunks: list[tuple[int, Actions]] = []

    @property
    def pending(self) -> bool:
        """Whether an answer is outstanding."""
        return self._pending

    def should_ask(self) -> bool:
        """Whether to observe and ask the policy at this step."""
        if self._pending:
            return False
        return self._asked is None or self.given - self._asked >= self._execute or self._row() is None

    def ask(self) -> None:
        """The policy was asked about an observation of this moment."""
        if self._pending:
            raise RuntimeError("a chunk is being inferred already; hand in its answer first")
        self._asked, self._pending = self.given, True
        if self._mode == "synchronous":
            self._chunks = []

    def answer(self, actions: Actions) -> None:
        """The answer, (C, A), to the last :meth:`ask`; raises ValueError for one of another length."""
        if not self._pending or self._asked is None:
            raise RuntimeError("no chunk was asked for; call ask() first")
        if len(actions) != self._chunk:
            raise ValueError(f"the policy returned a chunk of {len(actions)} actions; it promised {self._chunk}")
        self._pending = False
        if self._mode == "ensemble":
            running = [(start, rows) for start, rows in self._chunks if start + len(rows) > self.given]
            self._chunks = [*running, (self._asked, actions)]
        elif self._mode == "rtc" and self._chunks:
            self._chunks = [(self._asked, self._guided(*self._chunks[0], self._asked, actions))]
        else:
            self._chunks = [(self._asked, actions)]

    def next(self) -> Actions | None:
        """The action (A,) of this step; None if there is none and the robot must hold."""
        row = self._row()
        if row is not None:
            self.given += 1
        return row

    def _row(self) -> Actions | None:
        return ensembled(self._chunks, self.given, self._decay)

    def _guided(self, old_start: int, old: Actions, start: int, new: Actions) -> Actions:
        """The new chunk, pulled towards the old one where both have rows."""
        overlap = min(old_start + len(old) - start, len(new))
        weights = np.array([frozen_weight(row, self.given - start, overlap) for row in range(overlap)])[:, None]
        blended = new.copy()
        blended[:overlap] = weights * old[start - old_start :][:overlap] + (1 - weights) * new[:overlap]
        return blended
