"""Pictures of recorded episodes, for videos: ``python -m thinkvla.simulators.libero.replay JOB``.

JOB is a JSON file: ``params``, the arguments of the benchmark class, and ``episodes``, each with ``task``, ``episode``
(its number), ``actions`` as they were executed and ``frames``, the file to write: an array of uint8 pictures for each
view, and ``success``, whether the task is done at the end. A line ``replayed FILE`` is printed after each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from thinkvla.environments.parent import end_with_parent
from thinkvla.simulators.libero.benchmark import LiberoBenchmark

REPLAYED = "replayed "


def replay(benchmark: LiberoBenchmark, episode: dict[str, Any]) -> None:
    """Run one episode again and write what its views showed."""
    task = next(task for task in benchmark.get_tasks() if task["name"] == episode["task"])
    actions = np.array(episode["actions"], np.float32)
    seen = list(benchmark.replay({**task, "episode_idx": episode["episode"]}, actions))
    views: dict[str, Any] = {view: np.stack([images[view] for images in seen]) for view in seen[0]}
    np.savez(episode["frames"], success=benchmark.succeeded(), **views)


def main(job: Path) -> None:
    """Run them all."""
    end_with_parent()
    asked = json.loads(job.read_text("utf-8"))
    benchmark = LiberoBenchmark(**asked["params"])
    for episode in asked["episodes"]:
        replay(benchmark, episode)
        print(REPLAYED + episode["frames"], flush=True)
    benchmark.cleanup()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
