"""Short names for policies, from the paths of their checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

_COMMON = ("runs", "policy", "checkpoints", "/", ".", "..")


def policy_names(policies: Iterable[str]) -> dict[str, str]:
    """Path (or ``expert``) → its run's name, with as much of the path before it as keeps different policies apart.

    ``runs/plain/policy`` becomes ``plain``, ``runs/plain/checkpoints/step-000500`` becomes ``plain/step-000500``.
    """
    parts = {policy: [p for p in PurePath(policy).parts if p not in _COMMON] or [policy] for policy in policies}
    for extra in range(max(map(len, parts.values()), default=0)):
        names = {policy: "/".join(found[-_needed(found) - extra :]) for policy, found in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {policy: policy for policy in parts}


def _needed(parts: list[str]) -> int:
    """How many parts name a checkpoint: the run, and the step of one that is not the run's last."""
    return 2 if parts[-1].startswith("step-") else 1
