"""One simulator process: ``python -m thinkvla.evaluate.simulator CONFIG.json WORKER WORKERS EVALUATION``.

Started by ``parallel.py``; takes episodes from the evaluation's shared queue until none is left.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import anyio
from vla_eval.orchestrator import Orchestrator
from vla_eval.protocol.numpy_codec import set_image_format


def main(config: Path, worker: int, workers: int, evaluation: str) -> None:
    """Run this worker's share of the vla-eval configuration in ``config``; raises when the simulator is unusable."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    set_image_format("raw")  # server and simulator share a machine: compressing images only costs time
    orchestrator = Orchestrator(
        json.loads(config.read_text("utf-8")), shard_id=worker, num_shards=workers, eval_id=evaluation
    )
    anyio.run(orchestrator.run)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
