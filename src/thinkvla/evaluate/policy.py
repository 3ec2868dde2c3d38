"""What evaluation needs of a policy, and the privileged observation only a simulator's own expert may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import ActionChunk, Embodiment, Observation


class Policy(Protocol):
    """Anything that turns observations into action chunks."""

    @property
    def embodiment(self) -> Embodiment:
        """What it sees and how it acts."""

    @property
    def chunk(self) -> int:
        """Actions in each chunk it returns."""

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk for each observation, in the same order."""


@dataclass(frozen=True)
class PrivilegedObservation(Observation):
    """An observation with the simulator's ground truth, for a scripted expert behind the same server as a policy.

    Attributes:
        suite: name of the task's suite.
        task: name of the task.
        seed: seed of the episode.
        snapshot: float64 (N,) the simulator's complete state, as ``World.snapshot`` gives it.
    """

    suite: str
    task: str
    seed: int
    snapshot: NDArray[np.float64]
