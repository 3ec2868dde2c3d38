"""One co-training step: student and teacher packed, against two forwards, and against no method at all.

    OMP_NUM_THREADS=1 python benchmarks/packed_step.py

The same batch of demonstrations, forward, loss and backward. The two-forward rival runs its teacher without building a
graph, as a careful implementation would.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import common
import numpy as np
import torch

from thinkvla.method.config import MethodConfig
from thinkvla.method.objective import robot_sums, weights
from thinkvla.preprocessor import RobotSample

BATCH, ROUNDS = 8, 12


def measure(size: str) -> dict[str, Any]:
    """Seconds a step of the three, and their ratios."""
    method = MethodConfig(vision_block=2, geometry_dim=48)
    rng = np.random.default_rng(1)
    steps = {}
    for name, config in (("method", method), ("plain", common.without_method(method))):
        policy, preprocessor = common.build(size, config)
        samples = [
            RobotSample(
                seen,
                rng.uniform(-1, 1, (config.chunk, 7)).astype(np.float32),
                np.ones(config.chunk, bool),
                rng.normal(size=(2, 8, 8, 48)).astype(np.float32) if config.geometry_adapter else None,
            )
            for seen in common.observations(preprocessor, BATCH)
        ]
        batch = preprocessor.robot_batch(samples)

        def step(forward: Any, batch: Any = batch, config: MethodConfig = config, policy: Any = policy) -> None:
            policy.zero_grad()
            sums = robot_sums(forward(batch.tokens), batch)
            torch.stack([weights(config)[term] * value for term, value in sums.items()]).sum().backward()

        if name == "plain":
            steps["plain"] = partial(step, policy.think)
        else:
            steps["packed"] = partial(step, policy.think)
            steps["two_forwards"] = partial(step, policy.think_twice)
            parameters = sum(p.numel() for p in policy.parameters())
    seconds = common.alternate(steps, ROUNDS)
    return {
        "parameters": parameters,
        "batch": BATCH,
        "rounds": ROUNDS,
        "median_seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "packed_over_two_forwards": round(common.median_ratio(seconds, "packed", "two_forwards"), 3),
        "packed_over_plain": round(common.median_ratio(seconds, "packed", "plain"), 3),
        "two_forwards_over_plain": round(common.median_ratio(seconds, "two_forwards", "plain"), 3),
    }


if __name__ == "__main__":
    common.write("packed_step", {size: measure(size) for size in common.SIZES})
