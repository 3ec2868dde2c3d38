"""The privileged observation, which only a simulator's own expert may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thinkvla.contract import ContractError, Observation


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
