"""Does the road from pixels to actions hold? Train on ten episodes, then drive those ten scenes in closed loop.

    python benchmarks/overfit.py

Ten demonstrations of one task with recovery data (training seeds 0 to 9), the full method without questions, then the
same ten seeds through the evaluation path of any policy. At least 9 of 10 must succeed.
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
from thinkvla.train.loop import train

FOLDER = Path("runs/overfit")
TASK = "red_cube_on_blue_plate"
STEPS, BATCH, EXECUTE = 2400, 16, 4


def main() -> None:
    """Generate, train, evaluate, and keep the figures."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    data = FOLDER / "data"
    made = generate(GenerateOptions(data, tasks=(TASK,), episodes=10, questions=1))
    config = tabletop(data=data)
    method = replace(config.method, qa_data="none")
    config = replace(config, output=FOLDER / "run", method=method, steps=STEPS, batch_size=BATCH)
    started = time.perf_counter()
    policy = train(config)
    seconds = time.perf_counter() - started
    evaluation = EvaluateOptions(
        str(policy), FOLDER / "results", tasks=(TASK,), episodes=10, first_seed=0, execute=EXECUTE
    )
    total = evaluate(evaluation).total
    common.write(
        "overfit",
        {
            "task": TASK,
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
