"""LIBERO by our benchmark class and by vla-eval's own: the same success in every episode, and how much faster.

The scripted expert solves each episode once; what it did is then played back as a policy would act: two views rendered
whenever it looks, a chunk of eight actions executed before it looks again. Both classes get the same actions from the
same server, one simulator process each, one after the other.

OMP_NUM_THREADS=1 python benchmarks/libero_harness.py --suite libero_object --tasks 3 --episodes 3
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import tyro
from vla_eval.api import serve_background
from vla_eval.results.export import export_eval

from thinkvla.contract import ActionChunk, Actions, Observation
from thinkvla.data.embodiments import SPECIFICATIONS
from thinkvla.environments.process import command, variables
from thinkvla.evaluate.benchmark import recorded_actions
from thinkvla.evaluate.benchmarks import find_benchmark
from thinkvla.evaluate.description import describe
from thinkvla.evaluate.harness import LIBERO, HarnessServer
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.parallel import ANSWER_TIMEOUT_S, EVALUATION, run_parallel
from thinkvla.evaluate.server import PolicyServer

CHUNK = 8
Key = tuple[str, int]  # instruction, episode


@dataclass(frozen=True)
class Options:
    """What to compare.

    Attributes:
        suite: LIBERO suite.
        tasks: its first so many tasks.
        episodes: of each.
    """

    suite: str = "libero_object"
    tasks: int = 3
    episodes: int = 3


class Player:
    """A policy for the server's sake: what it sees, and that it acts in chunks."""

    embodiment = SPECIFICATIONS["libero"].embodiment(20.0)
    chunk = CHUNK

    def __init__(self, recorded: Mapping[Key, Actions]) -> None:
        self.recorded = recorded

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        raise NotImplementedError("the server plays by episode and step")

    def chunk_of(self, task: Mapping[str, Any], step: int) -> Actions:
        """(CHUNK, 7) from ``step`` on; at the end the last action, over and over."""
        actions = self.recorded[task.get("instruction", task["name"]), task["episode_idx"]]
        return actions[np.minimum(np.arange(step, step + CHUNK), len(actions) - 1)]


class Remembering(PolicyServer):
    """Knows which episode each session is in, and plays it back."""

    async def on_episode_start(self, config: dict[str, Any], ctx: Any) -> None:
        self.tasks: dict[str, Mapping[str, Any]] = {ctx.session_id: config["task"]}  # one simulator, one session
        await super().on_episode_start(config, ctx)

    def predict_batch(self, obs_batch: list[dict[str, Any]], ctx_batch: list[Any]) -> list[dict[str, Any]]:
        player: Any = self.policy
        return [{"actions": player.chunk_of(self.tasks[ctx.session_id], ctx.step)} for ctx in ctx_batch]


class TheirServer(HarnessServer, Remembering):
    """As vla-eval's class wants it: HarnessServer converts what Remembering plays."""


def record(options: Options, folder: Path) -> tuple[dict[Key, Actions], list[str]]:
    """What the expert does in each episode, and the names of the tasks."""
    benchmark = find_benchmark(options.suite)
    asked = benchmark.complete(
        EvaluateOptions("expert", folder, benchmark=options.suite, episodes=options.episodes, workers=1)
    )
    expert = benchmark.expert_policy(asked)
    server = PolicyServer(expert, privileged=True)
    entry = benchmark.entry(asked, expert.embodiment)
    tasks = describe(entry, benchmark.environment).tasks[: options.tasks]
    names = [task["name"] for task in tasks]
    entry["params"] |= {"tasks": names} | server.get_observation_params()
    description = describe(entry, benchmark.environment)
    records = run_parallel(server, entry, description, output=folder, workers=1, environment=benchmark.environment)
    instructions = {task["name"]: task["instruction"] for task in tasks}
    return {(instructions[r["task"]], r["episode_id"]): recorded_actions(r) for r in records}, names


def play(server: PolicyServer, entry: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], float]:
    """Success and steps of each episode, and the seconds of all."""
    folder.mkdir()
    with serve_background(server) as handle:
        config = folder / "config.json"
        values = {
            "server": {"url": handle.url, "timeout": ANSWER_TIMEOUT_S},
            "output_dir": str(folder),
            "benchmarks": [dict(entry)],
        }
        config.write_text(json.dumps(values), "utf-8")
        environment = {"OMP_NUM_THREADS": "1", **variables("libero"), "PYTHONPATH": str(Path(__file__).parent)}
        started = time.monotonic()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command("libero", "thinkvla.evaluate.simulator", "run", str(config), "0", "1", EVALUATION),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            if process.wait():
                raise RuntimeError(f"the simulator failed: {(folder / 'log').read_text()[-2000:]}")
        seconds = time.monotonic() - started
    found: dict[str, Any] = {}
    for aggregate in export_eval(folder, EVALUATION):
        for task in aggregate["tasks"]:
            for episode in task["episodes"]:
                name = task["task"].replace("_", " ")
                found[f"{name}, {episode['episode_id']}"] = [episode["metrics"]["success"], episode.get("steps")]
    return found, seconds


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recorded, names = record(options, folder / "expert")
        player = Player(recorded)
        ours = {
            "benchmark": find_benchmark(options.suite).path,
            "episodes_per_task": options.episodes,
            "params": {"suite": options.suite, "tasks": names},
        }
        theirs = {
            "benchmark": "vla_eval_libero:Upstream",
            "episodes_per_task": options.episodes,
            "max_tasks": options.tasks,
            "params": {"suite": options.suite, **LIBERO.params},
        }
        by_ours, our_seconds = play(Remembering(player), ours, folder / "ours")
        by_theirs, their_seconds = play(TheirServer(player, LIBERO), theirs, folder / "theirs")
    different = {key: (by_ours[key], by_theirs.get(key)) for key in by_ours if by_ours[key] != by_theirs.get(key)}
    hours = {"ours": our_seconds / 3600, "vla_eval": their_seconds / 3600}
    common.write(
        "libero_harness",
        {
            "suite": options.suite,
            "episodes": len(by_ours),
            "succeeded": sum(success for success, _ in by_ours.values()),
            "different_in_success_or_steps": different,
            "episodes_per_hour": {name: round(len(by_ours) / value, 1) for name, value in hours.items()},
            "ours_over_vla_eval": round(their_seconds / our_seconds, 2),
            "cores": os.cpu_count(),
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
