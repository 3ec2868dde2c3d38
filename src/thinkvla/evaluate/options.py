"""What to evaluate, on what, and where the results go."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, on what, and where the results go.

    Attributes:
        checkpoint: folder of a checkpoint, name of a shipped policy, or ``expert`` for the scripted expert.
        output: new folder for the results.
        benchmark: tabletop, libero_object or another; docs/benchmarks.md lists them.
        suite: name of a suite of tabletop; default: object. Other benchmarks are one suite each.
        tasks: names of tasks of the suite; none means all.
        episodes: episodes of each task; episode k of every task has seed first_seed + k. Default: the benchmark's.
        first_seed: seed of each task's first episode, or number of its initial state where a benchmark has a list.
            Default: the first test seed kept for policies, or the first initial state.
        workers: simulator processes.
        execute: actions executed of each chunk before the policy looks again; default: the whole chunk.
        videos: most rollouts to film, successes and failures in turn; default: the benchmark's.
        embodiment: robot to act for; needed if the policy was trained for several.
        perturbation: axis along which every scene is perturbed; default: plain scenes.
        level: how strongly, 1 to 3; 0 for plain scenes.
        assets: folder or archive of the files that simpler_widowx needs and no package has.
        max_steps: step limit of every episode, where a benchmark has several in use: simpler_widowx. Default: the
            benchmark's.
        docker: one of vla-eval's container images, in which its own class of this benchmark runs instead of ours.
        sample: so many tasks of the benchmark, the same each time; default: all. For benchmarks of many tasks.
        as_released: let LIBERO-Plus be as its released code is: instructions that name the perturbation, and the robot
            at its plain pose in every task.
        resume: go on with the evaluation in ``output`` that was stopped; with an error ended episodes run again.
    """

    checkpoint: tyro.conf.Positional[str]
    output: Path
    benchmark: str = "tabletop"
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    episodes: int | None = None
    first_seed: int | None = None
    workers: int = 2
    execute: int | None = None
    videos: int | None = None
    embodiment: str | None = None
    perturbation: str | None = None
    level: int = 0
    assets: Path | None = None
    max_steps: int | None = None
    docker: str | None = None
    sample: int | None = None
    as_released: bool = False
    resume: bool = False


@dataclass(frozen=True)
class Evaluation(EvaluateOptions):
    """Options with the benchmark's defaults filled in; ``Benchmark.complete`` makes them."""

    suite: str = ""
    episodes: int = 0
    first_seed: int = 0
    videos: int = 0

    @property
    def seeds(self) -> range:
        """Seeds, or numbers of initial states, of each task's episodes."""
        return range(self.first_seed, self.first_seed + self.episodes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form, for the result file: all but whether it was resumed."""
        values = {**asdict(self), "output": str(self.output), "assets": self.assets and str(self.assets)}
        del values["resume"]
        return values
