"""Evaluate a checkpoint, or the scripted expert, on a suite of the tabletop world."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from thinkvla.evaluate.expert_policy import ExpertPolicy
from thinkvla.evaluate.parallel import run_parallel
from thinkvla.evaluate.policy import Policy
from thinkvla.evaluate.results import Episode, EvaluationResult
from thinkvla.evaluate.server import PolicyServer
from thinkvla.evaluate.videos import SIZE, choose, replay
from thinkvla.progress import progress
from thinkvla.tabletop.perturbations import Perturbation, perturbed
from thinkvla.tabletop.seeds import EVALUATION, seeds
from thinkvla.tabletop.suites import choose_tasks
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World
from thinkvla.versions import versions

EXPERT = "expert"
BENCHMARK = "thinkvla.evaluate.tabletop_benchmark:TabletopBenchmark"
VIDEOS = "videos"
HARNESS = "harness"


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, on what, and where the results go.

    Attributes:
        checkpoint: folder of a checkpoint, name of a shipped policy, or ``expert`` for the scripted expert.
        output: new folder for the results.
        suite: name of the suite.
        tasks: names of tasks of the suite; none means all.
        episodes: episodes of each task; episode k of every task has seed first_seed + k.
        first_seed: default: the first test seed kept for policies.
        workers: simulator processes.
        execute: actions executed of each chunk before the policy looks again; default: the whole chunk.
        videos: most rollouts to film, successes and failures in turn.
        perturbation: axis along which every scene is perturbed; default: plain scenes.
        level: how strongly, 1 to 3; 0 for plain scenes.
    """

    checkpoint: tyro.conf.Positional[str]
    output: Path
    suite: str = "object"
    tasks: tuple[str, ...] = ()
    episodes: int = 20
    first_seed: int = EVALUATION.start
    workers: int = 2
    execute: int | None = None
    videos: int = 6
    perturbation: str | None = None
    level: int = 0


def evaluate(options: EvaluateOptions) -> EvaluationResult:
    """Evaluate what ``options`` name; results, videos and the harness's records are in ``options.output``.

    Raises:
        ValueError: options do not fit: unknown suite, task or perturbation, existing output, seeds outside the
            published ranges, or something that is not a checkpoint.
        ContractError: the checkpoint is for another robot.
        RuntimeError: no episode could be started.
    """
    _require_new(options.output)
    check(options)
    if options.checkpoint == EXPERT:
        return _run(ExpertPolicy(_perturbation(options)), options, fingerprint=None, privileged=True)
    from thinkvla.checkpoint import fingerprint  # torch is needed for a checkpoint only
    from thinkvla.deploy import load_policy

    policy = load_policy(options.checkpoint)
    return _run(policy, options, fingerprint=fingerprint(options.checkpoint), privileged=False)


def evaluate_policy(policy: Policy, options: EvaluateOptions, fingerprint: str | None = None) -> EvaluationResult:
    """As :func:`evaluate`, for a policy in memory.

    ``options.checkpoint`` and ``fingerprint`` then only say in the results which policy it is.
    """
    _require_new(options.output)
    check(options)
    return _run(policy, options, fingerprint=fingerprint, privileged=False)


def _require_new(output: Path) -> None:
    if output.exists():
        raise ValueError(f"output folder {output} exists already; choose another name or remove it")


def check(options: EvaluateOptions) -> None:
    """Raise ValueError for options that do not fit; the output folder is not looked at."""
    for name, least in (("episodes", 1), ("workers", 1), ("videos", 0)):
        if getattr(options, name) < least:
            raise ValueError(f"{name} is {getattr(options, name)}; it must be at least {least}")
    wanted = range(options.first_seed, options.first_seed + options.episodes)
    published = (seeds("test"), seeds("training"))
    if not any(wanted[0] in split and wanted[-1] in split for split in published):
        raise ValueError(
            f"seeds {wanted[0]} to {wanted[-1]} are not all in one published range; test seeds are "
            f"{published[0][0]} to {published[0][-1]}, training seeds {published[1][0]} to {published[1][-1]}"
        )
    _tasks(options)


def _perturbation(options: EvaluateOptions) -> Perturbation | None:
    if options.perturbation is not None:
        return Perturbation(options.perturbation, options.level)
    if options.level != 0:
        raise ValueError(f"level is {options.level} but no perturbation is given; name an axis, e.g. 'camera'")
    return None


def _tasks(options: EvaluateOptions) -> tuple[Task, ...]:
    """The tasks to run, perturbed as the options say."""
    change = _perturbation(options)
    return tuple(perturbed(task, change) for task in choose_tasks(options.suite, options.tasks))


def _run(policy: Policy, options: EvaluateOptions, *, fingerprint: str | None, privileged: bool) -> EvaluationResult:
    created, started, tasks = datetime.now(UTC), time.monotonic(), _tasks(options)
    server = PolicyServer(policy, execute=options.execute, batch=options.workers, privileged=privileged)
    count = len(tasks) * options.episodes
    options.output.mkdir(parents=True)
    records = run_parallel(
        server,
        {
            "benchmark": BENCHMARK,
            "episodes_per_task": options.episodes,
            "params": {
                "suite": options.suite,
                "tasks": [task.name for task in tasks],
                "first_seed": options.first_seed,
                "perturbation": options.perturbation,
                "level": options.level,
            },
        },
        output=options.output / HARNESS,
        workers=min(options.workers, count),
        episodes=count,
    )
    found = {(record["task"], record["episode_id"]): record for record in records}
    episodes = {
        (task.name, number): _episode(task, options.first_seed + number, found.get((task.name, number)))
        for task in tasks
        for number in range(options.episodes)
    }
    result = EvaluationResult(
        policy=options.checkpoint,
        fingerprint=fingerprint,
        suite=options.suite,
        episodes=tuple(episodes.values()),
        options={**asdict(options), "output": str(options.output), "execute": server.execute},
        versions=versions(),
        created=created.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
        perturbation=options.perturbation,
        level=options.level,
    )
    result.save(options.output)
    actions = {
        episode: np.array([row["action"] for row in found[key]["rows"]], np.float32)
        for key, episode in episodes.items()
        if key in found
    }
    if chosen := choose(result.episodes, options.videos):
        _film(chosen, actions, tasks, options.output / VIDEOS)
    return result


def _episode(task: Task, seed: int, record: Mapping[str, Any] | None) -> Episode:
    """The episode a vla-eval record tells of; no record means that its simulator process died."""
    error = None
    if record is None:
        record, error = {}, f"its simulator process ended before it; see {HARNESS}/worker-*.log"
    elif record.get("failure_reason"):
        # vla-eval keeps the whole traceback; its last line says what happened.
        lines = str(record.get("failure_detail") or "no detail").strip().splitlines()
        error = f"{record['failure_reason']}: {lines[-1]}"
    return Episode(
        task=task.name,
        instruction=task.scene(seed).instruction,
        seed=seed,
        success=None if error else bool(record["metrics"]["success"]),
        steps=int(record.get("steps") or 0),
        seconds=float(record.get("elapsed_sec") or 0.0),
        error=error,
    )


def _film(
    episodes: Sequence[Episode], actions: Mapping[Episode, np.ndarray], tasks: Sequence[Task], folder: Path
) -> None:
    """Make the videos of the chosen episodes."""
    by_name = {task.name: task for task in tasks}
    folder.mkdir()
    with progress("videos") as display:
        for episode in display.track(episodes, description="filming"):
            with World(by_name[episode.task], SIZE) as world:
                replay(world, episode, actions[episode], folder / episode.video_name)
