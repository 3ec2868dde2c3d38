"""Tabletop among the benchmarks: seeds of published ranges, perturbed scenes, filmed rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinkvla.contract import Actions, Policy
from thinkvla.evaluate.benchmark import Benchmark
from thinkvla.evaluate.expert_policy import ExpertPolicy
from thinkvla.evaluate.options import Evaluation
from thinkvla.evaluate.results import Episode
from thinkvla.evaluate.videos import SIZE, replay
from thinkvla.perturbation import Perturbation
from thinkvla.progress import progress
from thinkvla.tabletop.perturbations import perturbed
from thinkvla.tabletop.seeds import EVALUATION, seeds
from thinkvla.tabletop.suites import choose_tasks
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World


class Tabletop(Benchmark):
    """The embedded world."""

    def check(self, options: Evaluation) -> None:
        """Raise ValueError for an unknown suite, task or perturbation, and seeds outside the published ranges."""
        wanted = options.seeds
        published = (seeds("test"), seeds("training"))
        if not any(wanted[0] in split and wanted[-1] in split for split in published):
            raise ValueError(
                f"seeds {wanted[0]} to {wanted[-1]} are not all in one published range; test seeds are "
                f"{published[0][0]} to {published[0][-1]}, training seeds {published[1][0]} to {published[1][-1]}"
            )
        _tasks(options)

    def expert_policy(self, options: Evaluation) -> Policy:
        """The scripted expert, which must know how the scenes are perturbed."""
        return ExpertPolicy(Perturbation.of(options.perturbation, options.level))

    def instruction(self, options: Evaluation, task: Mapping[str, Any], seed: int) -> str:
        """What the scene of that seed asks for."""
        return _tasks(options)[task["name"]].scene(seed).instruction

    def film(self, options: Evaluation, rollouts: Mapping[Episode, Actions], folder: Path) -> None:
        """Replay episodes in larger pictures than the policy saw."""
        tasks = _tasks(options)
        folder.mkdir()
        with progress("videos") as display:
            for episode in display.track(list(rollouts), description="filming"):
                with World(tasks[episode.task], SIZE) as world:
                    replay(world, episode, rollouts[episode], folder / episode.video_name)


def _tasks(options: Evaluation) -> dict[str, Task]:
    """Name → task of the tasks to run, perturbed as the options say."""
    change = Perturbation.of(options.perturbation, options.level)
    return {task.name: perturbed(task, change) for task in choose_tasks(options.suite, options.tasks)}


TABLETOP = Tabletop(
    "tabletop",
    "the embedded world: ten pick-and-place tasks a suite",
    path="thinkvla.evaluate.tabletop_benchmark:TabletopBenchmark",
    takes=frozenset({"suite", "first_seed", "perturbation", "level"}),
    views=False,
    points=True,
    suite="object",
    episodes=20,
    first_seed=EVALUATION.start,
    videos=6,
)
