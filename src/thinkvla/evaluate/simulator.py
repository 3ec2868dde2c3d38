"""The simulators' side of an evaluation; runs in this interpreter or in that of an isolated environment.

    python -m thinkvla.evaluate.simulator run CONFIG.json WORKER WORKERS EVALUATION
    python -m thinkvla.evaluate.simulator describe ENTRY.json

``run`` is started by ``parallel.py``; it takes episodes from the evaluation's shared queue until none is left, or until
the process that started it is gone. ``describe`` is started by ``description.py`` and prints one line of JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from vla_eval.orchestrator import Orchestrator
from vla_eval.protocol.numpy_codec import set_image_format
from vla_eval.registry import resolve_import_string

from thinkvla.environments.parent import end_with_parent


def run(config: Path, worker: int, workers: int, evaluation: str) -> None:
    """Run this worker's share of the vla-eval configuration in ``config``; raises when the simulator is unusable."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    set_image_format("raw")  # server and simulator share a machine: compressing images only costs time
    end_with_parent()
    orchestrator = Orchestrator(
        json.loads(config.read_text("utf-8")), shard_id=worker, num_shards=workers, eval_id=evaluation
    )
    anyio.run(orchestrator.run)


def describe(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a vla-eval benchmark entry accepts, shows and consists of, as plain values.

    Raises what the benchmark's constructor raises, ValueError for parameters that do not fit.
    """
    benchmark = resolve_import_string(entry["benchmark"])(**entry.get("params", {}))
    return {
        "action": {name: spec.to_dict() for name, spec in benchmark.get_action_spec().items()},
        "observation": {name: spec.to_dict() for name, spec in benchmark.get_observation_spec().items()},
        "tasks": [{key: value for key, value in task.items() if _plain(value)} for task in benchmark.get_tasks()],
        "metadata": benchmark.get_metadata(),
    }


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float | bool)


def main(arguments: list[str]) -> None:
    """Run the command; a ValueError of ``describe`` is printed as JSON too, as the user's mistake."""
    if arguments[0] == "run":
        run(Path(arguments[1]), int(arguments[2]), int(arguments[3]), arguments[4])
        return
    try:
        found = describe(json.loads(Path(arguments[1]).read_text("utf-8")))
    except ValueError as error:
        found = {"error": str(error)}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
