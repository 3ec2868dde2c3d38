"""``thinkvla bench``: how long one action chunk takes, preprocessing, network and transport apart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.table import Table

from thinkvla.acting import Speed
from thinkvla.checkpoint import fingerprint
from thinkvla.contract import Observation
from thinkvla.deploy import DeployedPolicy, Precision, load_policy
from thinkvla.files import new_file
from thinkvla.progress import progress
from thinkvla.versions import versions

PERCENTILES = (50, 95, 99)
PICTURES = 16  # different observations, shown in turn


@dataclass(frozen=True)
class BenchOptions:
    """How fast a policy acts on this machine.

    Attributes:
        checkpoint: folder of a policy, or the name of a shipped one.
        output: new JSON file for the result; without it, the result is only shown.
        embodiment: the robot to act for; needed if the policy was trained for several.
        device: to run on; default a GPU if there is one.
        speed: how the network is run: ``eager``, ``graph`` (CUDA graphs), or ``compile`` (torch.compile, on a GPU as a
            CUDA graph).
        precision: of the backbone's weights.
        batch: observations in each call.
        rounds: calls that are counted.
        warm_up: calls before them that are not; the first of all is shown on its own.
        instruction: what the robot is asked.
        transport: measure a server on this machine and its client too.
    """

    checkpoint: tyro.conf.Positional[str]
    output: Path | None = None
    embodiment: str | None = None
    device: str | None = None
    speed: Speed = "eager"
    precision: Precision = "float32"
    batch: int = 1
    rounds: int = 200
    warm_up: int = 20
    instruction: str = "put the red cube on the blue plate"
    transport: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "rounds", "warm_up"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")


def bench(options: BenchOptions) -> dict[str, Any]:
    """Measure; returns what is also written to ``options.output``, times in milliseconds.

    Raises:
        ValueError: the output exists, or the policy cannot be loaded.
    """
    if options.output is not None and options.output.exists():
        raise ValueError(f"{options.output} exists already; choose another output file or remove it")
    policy = load_policy(options.checkpoint, options.device, options.embodiment, options.speed, options.precision)
    batches = _batches(policy, options)
    started = time.perf_counter()
    policy.act(batches[0])
    first = time.perf_counter() - started
    total = options.rounds + options.warm_up
    seconds: dict[str, list[float]] = {}
    with progress("calls") as display:
        task = display.add_task("preprocessing and network", total=total * (1 + options.transport))
        for seen in islice(cycle(batches), total):
            for stage, spent in _act(policy, seen).items():
                seconds.setdefault(stage, []).append(spent)
            display.advance(task)
        if options.transport:
            display.update(task, description="transport")
            seconds["transport"] = _transport(policy, batches, total, lambda: display.advance(task))
    counted = {stage: np.array(values[options.warm_up :]) for stage, values in seconds.items()}
    result = _described(policy, options) | {
        "first_call_milliseconds": round(1e3 * first, 3),
        "milliseconds": {stage: _percentiles(values) for stage, values in counted.items()},
        "versions": versions(),
    }
    if options.output is not None:
        text = json.dumps(result, indent=2) + "\n"
        with new_file(options.output, len(text)) as partial:
            partial.write_text(text, encoding="utf-8")
    return result


def bench_table(result: dict[str, Any]) -> Table:
    """The percentiles of each stage, for people."""
    how = f"{result['device']}, {result['speed']}, {result['precision']}, batch {result['batch']}"
    table = Table(title=f"{result['checkpoint']}: milliseconds for one call ({how})")
    table.add_column("stage")
    for percentile in PERCENTILES:
        table.add_column(f"p{percentile}", justify="right")
    for stage, values in result["milliseconds"].items():
        table.add_row(stage, *(f"{values[f'p{percentile}']:.2f}" for percentile in PERCENTILES))
    table.caption = f"first call {result['first_call_milliseconds']:.0f} ms; {result['rounds']} calls counted"
    return table


def _batches(policy: DeployedPolicy, options: BenchOptions) -> list[list[Observation]]:
    rng = np.random.default_rng(0)
    shape = (*policy.embodiment.image_size, 3)
    return [
        [
            Observation(
                {camera: rng.integers(0, 256, shape, dtype=np.uint8) for camera in policy.embodiment.cameras},
                options.instruction,
            )
            for _ in range(options.batch)
        ]
        for _ in range(PICTURES)
    ]


def _act(policy: DeployedPolicy, observations: Sequence[Observation]) -> dict[str, float]:
    """Seconds of each stage of one call; the network's end when its actions are here, as robot actions."""
    started = time.perf_counter()
    prepared = policy.prepare(observations)
    ready = time.perf_counter()
    policy.finish(policy.run(prepared))
    ended = time.perf_counter()
    return {"preprocessing": ready - started, "network": ended - ready, "both": ended - started}


def _transport(
    policy: DeployedPolicy, batches: Sequence[Sequence[Observation]], calls: int, done: Callable[[], None]
) -> list[float]:
    """Seconds that each call of a client on this machine takes beyond the policy itself.

    They hold encoding and decoding, the way there and back, the server's guards and its queue; one client waits for its
    answer before it asks again.
    """
    from thinkvla.serve.client import PolicyClient
    from thinkvla.serve.options import GuardOptions, ServerOptions
    from thinkvla.serve.server import running

    options = ServerOptions(port=0, deadline_s=600.0, guards=GuardOptions(frozen_after=0))
    seconds = []
    with running(policy, options) as server, PolicyClient(f"ws://127.0.0.1:{server.port}", timeout_s=600.0) as client:
        for seen in islice(cycle(batches), calls):
            started = time.perf_counter()
            answer = client.act(seen[0])
            seconds.append(time.perf_counter() - started - answer.timing["infer_ms"] / 1e3)
            done()
    return seconds


def _percentiles(seconds: np.ndarray) -> dict[str, float]:
    return {f"p{p}": round(1e3 * float(np.percentile(seconds, p)), 3) for p in PERCENTILES}


def _described(policy: DeployedPolicy, options: BenchOptions) -> dict[str, Any]:
    on_gpu = policy.device.type == "cuda"
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "checkpoint": options.checkpoint,
        "fingerprint": fingerprint(options.checkpoint),
        "device": torch.cuda.get_device_name(policy.device) if on_gpu else str(policy.device),
        "speed": options.speed,
        "precision": options.precision,
        "batch": options.batch,
        "views": len(policy.embodiment.cameras),
        "image_size": list(policy.embodiment.image_size),
        "rounds": options.rounds,
        "warm_up": options.warm_up,
        "threads": torch.get_num_threads(),
    }
