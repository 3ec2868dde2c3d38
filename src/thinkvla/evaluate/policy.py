"""What evaluation needs of a policy, and the privileged observation only a simulator's own expert may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thinkvla.contract import ActionChunk, ContractError, Embodiment, Observation


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
        truth: what the benchmark tells its own expert: numbers, texts, arrays, and lists and dictionaries of these.
    """

    truth: Mapping[str, Any]

    def entry(self, key: str, kind: type) -> Any:
        """One value of the ground truth; raises ContractError when it is missing or of another type."""
        return entry(self.truth, key, kind, "ground truth")


def entry(values: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """``values[key]``; raises ContractError, saying ``where``, when it is missing or not a ``kind``."""
    if key not in values:
        raise ContractError(f"{where}: key '{key}' is missing (got {sorted(values)})")
    value = values[key]
    if not isinstance(value, kind):
        raise ContractError(f"{where}: '{key}' must be {kind.__name__}, got {type(value).__name__}")
    return value
