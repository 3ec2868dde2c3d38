"""Evaluate a checkpoint, or the scripted expert, on a benchmark."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from thinkvla.contract import Policy
from thinkvla.evaluate.benchmark import Benchmark, recorded_actions
from thinkvla.evaluate.benchmarks import find_benchmark
from thinkvla.evaluate.description import describe
from thinkvla.evaluate.harness import HarnessServer, run_in_container
from thinkvla.evaluate.options import EvaluateOptions, Evaluation
from thinkvla.evaluate.parallel import run_parallel
from thinkvla.evaluate.results import FILE_NAME, Episode, EvaluationResult
from thinkvla.evaluate.server import PolicyServer
from thinkvla.evaluate.videos import choose
from thinkvla.evaluate.wire import require_agreement
from thinkvla.versions import versions

EXPERT = "expert"
VIDEOS = "videos"
HARNESS = "harness"
ASKED = "asked.json"
"""What was asked of an evaluation, in its folder: a resumed one must be asked the same."""


def evaluate(options: EvaluateOptions) -> EvaluationResult:
    """Evaluate what ``options`` name; results, videos and the harness's records are in ``options.output``.

    Raises:
        ValueError: options do not fit: unknown benchmark, suite, task or perturbation, existing output, seeds outside
            the published ranges, an environment that is not installed, or something that is not a checkpoint.
        ContractError: the checkpoint is for another robot.
        RuntimeError: no episode could be started.
    """
    benchmark, asked = check(options)
    _check_output(asked)
    if options.checkpoint == EXPERT:
        return _run(benchmark.expert_policy(asked), benchmark, asked, fingerprint=None, privileged=True)
    from thinkvla.checkpoint import fingerprint  # torch is needed for a checkpoint only
    from thinkvla.deploy import load_policy

    policy = load_policy(options.checkpoint, embodiment=options.embodiment)
    return _run(policy, benchmark, asked, fingerprint=fingerprint(options.checkpoint), privileged=False)


def evaluate_policy(policy: Policy, options: EvaluateOptions, fingerprint: str | None = None) -> EvaluationResult:
    """As :func:`evaluate`, for a policy in memory.

    ``options.checkpoint`` and ``fingerprint`` then only say in the results which policy it is.
    """
    benchmark, asked = check(options)
    _check_output(asked)
    return _run(policy, benchmark, asked, fingerprint=fingerprint, privileged=False)


def check(options: EvaluateOptions) -> tuple[Benchmark, Evaluation]:
    """The benchmark, and the options with its defaults; the output folder is not looked at.

    Raises ValueError for options that do not fit.
    """
    benchmark = find_benchmark(options.benchmark)
    return benchmark, benchmark.complete(options)


def _check_output(asked: Evaluation) -> None:
    output = asked.output
    if asked.resume:
        if not (output / ASKED).is_file():
            raise ValueError(f"{output} holds no evaluation to go on with ({ASKED} is missing); leave --resume away")
        if (output / FILE_NAME).is_file():
            raise ValueError(f"the evaluation in {output} is complete; its results are in {output / FILE_NAME}")
    elif output.exists():
        raise ValueError(
            f"output folder {output} exists already; choose another name, remove it, or go on with it (--resume)"
        )


def _run(
    policy: Policy, benchmark: Benchmark, asked: Evaluation, *, fingerprint: str | None, privileged: bool
) -> EvaluationResult:
    created, started = datetime.now(UTC), time.monotonic()
    if asked.docker is not None:
        ran = _in_container(policy, benchmark, asked, fingerprint)
    else:
        ran = _in_processes(policy, benchmark, asked, fingerprint, privileged)
    found = {(record["task"], record["episode_id"]): record for record in ran.records}
    episodes = {
        (task["name"], number): _episode(
            task["name"],
            benchmark.instruction(asked, task, seed),
            seed,
            found.get((task["name"], number)),
        )
        for task in ran.tasks
        for number, seed in enumerate(asked.seeds)
    }
    result = EvaluationResult(
        policy=asked.checkpoint,
        fingerprint=fingerprint,
        suite=asked.suite,
        episodes=tuple(episodes.values()),
        options={**asked.to_dict(), "execute": ran.execute},
        versions=versions(),
        created=created.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
        perturbation=asked.perturbation,
        level=asked.level,
        benchmark=benchmark.name,
        protocol=ran.protocol,
        simulator=ran.simulator,
    )
    result.save(asked.output)
    of_episode = {episode: found[key] for key, episode in episodes.items() if key in found}
    if chosen := choose(result.episodes, asked.videos):
        rollouts = {episode: recorded_actions(of_episode[episode]) for episode in chosen}
        benchmark.film(asked, rollouts, asked.output / VIDEOS)
    return result


@dataclass(frozen=True)
class _Ran:
    """What ran: vla-eval's records of episodes, the tasks they are of, and under which rules."""

    records: Sequence[Mapping[str, Any]]
    tasks: Sequence[Mapping[str, Any]]
    execute: int
    protocol: Mapping[str, Any]
    simulator: Mapping[str, str]


def _in_processes(
    policy: Policy, benchmark: Benchmark, asked: Evaluation, fingerprint: str | None, privileged: bool
) -> _Ran:
    """Our own class of the benchmark, in several processes."""
    server = PolicyServer(policy, execute=asked.execute, batch=asked.workers, privileged=privileged)
    entry = benchmark.entry(asked, policy.embodiment)
    entry["params"] |= server.get_observation_params()
    description = describe(entry, benchmark.environment)
    require_agreement(server, description)
    _remember(asked, {"policy": fingerprint or asked.checkpoint, "execute": server.execute, "entry": entry})
    records = run_parallel(
        server,
        entry,
        description,
        output=asked.output / HARNESS,
        workers=min(asked.workers, len(description.tasks) * asked.episodes),
        environment=benchmark.environment,
        resume=asked.resume,
    )
    about = description.metadata
    return _Ran(records, description.tasks, server.execute, about.get("protocol", {}), about.get("versions", {}))


def _in_container(policy: Policy, benchmark: Benchmark, asked: Evaluation, fingerprint: str | None) -> _Ran:
    """vla-eval's own class of the benchmark, in its image."""
    assert benchmark.harness is not None
    assert asked.docker is not None
    harness, image = benchmark.harness, asked.docker
    server = HarnessServer(policy, harness, execute=asked.execute)
    _remember(asked, {"policy": fingerprint or asked.checkpoint, "execute": server.execute, "image": image})
    records = run_in_container(
        server,
        harness,
        image,
        params={"suite": asked.suite},
        episodes=asked.episodes,
        output=asked.output / HARNESS,
    )
    tasks = [{"name": name} for name in dict.fromkeys(record["task"] for record in records)]
    return _Ran(records, tasks, server.execute, {"class": harness.path, "image": image}, {})


def _remember(asked: Evaluation, values: Mapping[str, Any]) -> None:
    """Write what is asked into a new evaluation's folder; raises ValueError when a resumed one was asked otherwise."""
    file = asked.output / ASKED
    if not asked.resume:
        asked.output.mkdir(parents=True)
        file.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
        return
    before = json.loads(file.read_text("utf-8"))
    now = json.loads(json.dumps(values))
    different = [f"{key} was {before[key]}, now is {now[key]}" for key in now if before[key] != now[key]]
    if different:
        raise ValueError(f"{asked.output} was asked otherwise: {'; '.join(different)}; give the same to go on with it")


def _episode(task: str, instruction: str, seed: int, record: Mapping[str, Any] | None) -> Episode:
    """The episode a vla-eval record tells of; no record means that its simulator process died."""
    error = None
    if record is None:
        record, error = {}, f"its simulator process ended before it; see {HARNESS}/worker-*.log"
    elif record.get("failure_reason"):
        # vla-eval keeps the whole traceback; its last line says what happened.
        lines = str(record.get("failure_detail") or "no detail").strip().splitlines()
        error = f"{record['failure_reason']}: {lines[-1]}"
    return Episode(
        task=task,
        instruction=instruction,
        seed=seed,
        success=None if error else bool(record["metrics"]["success"]),
        steps=int(record.get("steps") or 0),
        seconds=float(record.get("elapsed_sec") or 0.0),
        error=error,
    )
