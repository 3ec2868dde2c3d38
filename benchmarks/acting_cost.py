"""What the method costs at deployment: one observation to one action chunk, R7 against the plain policy R1.

OMP_NUM_THREADS=1 python benchmarks/acting_cost.py
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import common

from thinkvla.deploy import DeployedPolicy
from thinkvla.method.config import MethodConfig

ROUNDS = 200


def measure(size: str) -> dict[str, Any]:
    """Milliseconds of both, and their ratio."""
    method = MethodConfig(vision_block=2, geometry_dim=48)
    calls = {}
    for name, config in (("R7", method), ("R1", common.without_method(method))):
        policy = DeployedPolicy(*common.build(size, config))
        seen = common.observations(policy.preprocessor, 1)
        calls[name] = partial(policy.act, seen)
    seconds = common.alternate(calls, ROUNDS)
    return {
        "rounds": ROUNDS,
        "median_milliseconds": {name: round(1e3 * statistics.median(v), 2) for name, v in seconds.items()},
        "R7_over_R1": round(common.median_ratio(seconds, "R7", "R1"), 3),
    }


if __name__ == "__main__":
    common.write("acting_cost", {size: measure(size) for size in common.SIZES})
