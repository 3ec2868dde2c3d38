"""Does the road from pixels to actions hold? Train on ten episodes, then drive those ten scenes in closed loop.

    python benchmarks/overfit.py

One noise-free demonstration of each task of the suite ``object`` (training seed 0), the full method with questions,
then the same ten seeds through the evaluation path of any policy. At least 9 of 10 must succeed.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import common

from thinkvla.data.generate import GenerateOptions, generate
from thinkvla.evaluate.run import EvaluateOptions, evaluate
from thinkvla.recipes.tabletop import tabletop
from thinkvla.tabletop.demonstrate import NO_NOISE
from thinkvla.train.loop import train

FOLDER = Path("runs/overfit")
STEPS, BATCH, EXECUTE = 2000, 16, 4


def main() -> None:
    """Generate, train, evaluate, and keep the figures."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    data = FOLDER / "data"
    made = generate(GenerateOptions(data, episodes=10, questions=40, noise=NO_NOISE))
    config = replace(tabletop(data=data), output=FOLDER / "run", steps=STEPS, batch_size=BATCH, question_batch_size=2)
    started = time.perf_counter()
    policy = train(config)
    seconds = time.perf_counter() - started
    evaluation = EvaluateOptions(
        str(policy), FOLDER / "results", episodes=1, first_seed=made["demonstrations"]["seeds"][0], execute=EXECUTE
    )
    total = evaluate(evaluation).total
    common.write(
        "overfit",
        {
            "episodes_trained_on": made["demonstrations"]["episodes"],
            "frames": made["demonstrations"]["frames"],
            "steps": STEPS,
            "batch": BATCH,
            "actions_executed_per_chunk": EXECUTE,
            "training_seconds": round(seconds),
            "successes": total.successes,
            "evaluated": total.episodes,
        },
    )


if __name__ == "__main__":
    main()
