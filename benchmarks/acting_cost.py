"""What acting costs: one observation to one action chunk.

On a CPU: the full method (R7) against the plain policy (R1), and against R7 by the method's own pass, which prepares
prompts, places and positions anew for every call. On a GPU: Qwen3-VL-2B's size, random weights in bf16, two views of
256 px, with its kernels launched one by one, as a CUDA graph, and compiled.

    OMP_NUM_THREADS=1 python benchmarks/acting_cost.py
    python benchmarks/acting_cost.py --gpu
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import common
import torch

from thinkvla.acting import Speed
from thinkvla.contract import ActionChunk, Observation
from thinkvla.deploy import DeployedPolicy
from thinkvla.method.config import MethodConfig

ROUNDS = 200


def act_plainly(policy: DeployedPolicy, seen: Sequence[Observation]) -> list[ActionChunk]:
    """What ``DeployedPolicy.act`` gives, by the method's own pass."""
    return policy.preprocessor.action_chunks(policy.policy.act(policy.preprocessor.act_tokens(seen)))


def measure(size: str) -> dict[str, Any]:
    """Milliseconds of each on this CPU, and ratios."""
    method = MethodConfig(vision_block=2, geometry_dim=48)
    calls: dict[str, Callable[[], Any]] = {}
    for name, config in (("R7", method), ("R1", common.without_method(method))):
        policy = DeployedPolicy(*common.build(size, config))
        seen = common.observations(policy.preprocessor, 1)
        calls[name] = partial(policy.act, seen)
        calls[f"{name}, plain pass"] = partial(act_plainly, policy, seen)
    seconds = common.alternate(calls, ROUNDS)
    return {
        "rounds": ROUNDS,
        "median_milliseconds": {name: round(1e3 * statistics.median(v), 2) for name, v in seconds.items()},
        "R7_over_R1": round(common.median_ratio(seconds, "R7", "R1"), 3),
        "R7_over_its_plain_pass": round(common.median_ratio(seconds, "R7", "R7, plain pass"), 3),
    }


def measure_on_gpu() -> dict[str, Any]:
    """Milliseconds of each speed, and the largest difference of their normalized actions from eager's."""
    network, preprocessor = common.build(common.PUBLISHED, MethodConfig(), image_size=256, device="cuda")
    speeds: tuple[Speed, ...] = get_args(Speed)
    policies = {speed: DeployedPolicy(network, preprocessor, "cuda", speed, "bfloat16") for speed in speeds}
    seen = common.observations(preprocessor, 1)
    actions = {speed: policy.run(policy.prepare(seen)).cpu() for speed, policy in policies.items()}
    seconds = common.alternate({speed: partial(policy.act, seen) for speed, policy in policies.items()}, ROUNDS)
    return {
        "device": torch.cuda.get_device_name(),
        "rounds": ROUNDS,
        "median_milliseconds": {speed: round(1e3 * statistics.median(v), 2) for speed, v in seconds.items()},
        "p99_milliseconds": {speed: round(1e3 * statistics.quantiles(v, n=100)[98], 2) for speed, v in seconds.items()},
        "largest_difference": {s: float((a - actions["eager"]).abs().max()) for s, a in actions.items()},
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["--gpu"]:
        common.write("acting_cost_gpu", {common.PUBLISHED: measure_on_gpu()})
    else:
        common.write("acting_cost", {size: measure(size) for size in common.SIZES})
