"""Does the road from pixels to actions hold? Train on ten episodes, then drive those ten scenes in closed loop.

    python benchmarks/overfit.py

One demonstration without noise of each task of the suite ``object`` (training seed 0), the action loss alone (R1) from
random weights, then the same ten seeds through the evaluation path of any policy. At least 9 of 10 are to succeed.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import common

from thinkvla.backbones.build import BackboneConfig
from thinkvla.data.generate import GenerateOptions, generate
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.run import evaluate
from thinkvla.recipes.tabletop import tabletop
from thinkvla.tabletop.demonstrate import NO_NOISE
from thinkvla.train.loop import train

STEPS, BATCH = 3000, 16
EXECUTE = (8, 4)


def main() -> None:
    """Generate, train, evaluate, and keep the figures."""
    folder = Path("runs") / f"overfit-{datetime.now():%Y%m%d-%H%M%S}"
    data = folder / "data"
    made = generate(GenerateOptions(data, episodes=10, questions=1, noise=NO_NOISE))["demonstrations"]
    started = time.perf_counter()
    config = tabletop("R1", data)
    config = replace(
        config,
        output=folder / "run",
        backbone=BackboneConfig("tiny_random"),
        optimizer=replace(config.optimizer, backbone_lr=1e-3, warmup_steps=50),
        steps=STEPS,
        batch_size=BATCH,
        precision="float32",
    )
    policy = train(config)
    seconds = time.perf_counter() - started
    successes = {}
    for execute in EXECUTE:
        options = EvaluateOptions(
            str(policy), folder / f"results-{execute}", episodes=1, first_seed=made["seeds"][0], execute=execute
        )
        total = evaluate(options).total
        successes[f"{execute} actions of each chunk executed"] = f"{total.successes} of {total.episodes}"
    last = json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    common.write(
        "overfit",
        {
            "episodes": made["episodes"],
            "frames": made["frames"],
            "steps": STEPS,
            "batch": BATCH,
            "training_seconds": round(seconds),
            "action_loss": round(last["loss/action"], 4),
            "successes": successes,
        },
    )


if __name__ == "__main__":
    main()
