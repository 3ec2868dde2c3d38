"""LIBERO by our benchmark class and by vla-eval's own: the same success in every episode, and how much faster.

The scripted expert solves each episode once; what it did is then played back as a policy would act: two views rendered
whenever it looks, a chunk of eight actions executed before it looks again. Both classes get the same actions from the
same server, by as many simulator processes, one class after the other. Processor time is counted beside the clock: with
one simulator for each core it is what counts, and what else runs on the machine matters little to it.

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
from vla_eval.recording import RecordingStore, db_path_for_eval
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
        episodes: of each; more than there are workers.
        workers: simulator processes; with one for each core, no class has the other cores to render with.
    """

    suite: str = "libero_object"
    tasks: int = 3
    episodes: int = 3
    workers: int = os.cpu_count() or 1


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

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.tasks: dict[str, Mapping[str, Any]] = {}

    async def on_episode_start(self, config: dict[str, Any], ctx: Any) -> None:
        self.tasks[ctx.session_id] = config["task"]
        await super().on_episode_start(config, ctx)

    def predict_batch(self, obs_batch: list[dict[str, Any]], ctx_batch: list[Any]) -> list[dict[str, Any]]:
        player: Any = self.policy
        return [{"actions": player.chunk_of(self.tasks[ctx.session_id], ctx.step)} for ctx in ctx_batch]


class TheirServer(HarnessServer, Remembering):
    """As vla-eval's class wants it: HarnessServer converts what Remembering plays."""


def record(options: Options, folder: Path) -> tuple[dict[Key, Actions], dict[str, str]]:
    """What the expert does in each episode, and the tasks: name → instruction."""
    benchmark = find_benchmark(options.suite)
    asked = benchmark.complete(EvaluateOptions("expert", folder, benchmark=options.suite, episodes=options.episodes))
    expert = benchmark.expert_policy(asked)
    server = PolicyServer(expert, privileged=True)
    entry = benchmark.entry(asked, expert.embodiment)
    tasks = describe(entry, benchmark.environment).tasks[: options.tasks]
    instructions = {task["name"]: task["instruction"] for task in tasks}
    entry["params"] |= {"tasks": list(instructions)} | server.get_observation_params()
    description = describe(entry, benchmark.environment)
    records = run_parallel(
        server, entry, description, output=folder, workers=options.workers, environment=benchmark.environment
    )
    return {(instructions[r["task"]], r["episode_id"]): recorded_actions(r) for r in records}, instructions


@dataclass(frozen=True)
class Played:
    """What one class did.

    Attributes:
        outcomes: episode → success and steps.
        seconds: of all, from the start of the processes to the end of the last.
        spent: what → processor time spent on it, seconds, all processes together.
        workers: number of processes.
    """

    outcomes: dict[str, Any]
    seconds: float
    spent: dict[str, float]
    workers: int

    @property
    def cpu_seconds(self) -> float:
        """Of an episode of a task whose simulator is there: of all but each process's first."""
        later = len(self.outcomes) - self.workers
        return (self.spent["all"] - self.spent["first episode and before"]) / later

    def figures(self) -> dict[str, Any]:
        rest = self.spent["all"] - sum(self.spent[name] for name in ("start", "resets", "steps", "observations"))
        spent = self.spent | {"messages and records": rest}
        return {
            "episodes_per_hour": round(3600 * len(self.outcomes) / self.seconds, 1),
            "cpu_seconds_an_episode_after_the_first": round(self.cpu_seconds, 2),
            "cpu_seconds": {name: round(value, 1) for name, value in spent.items()},
        }


def play(
    server: PolicyServer, entry: Mapping[str, Any], folder: Path, workers: int, instructions: Mapping[str, str]
) -> Played:
    """Play every episode back by the class that ``entry`` names; theirs calls tasks by their instructions."""
    times = folder / "times"
    times.mkdir(parents=True)
    with serve_background(server) as handle:
        config = folder / "config.json"
        values = {
            "server": {"url": handle.url, "timeout": ANSWER_TIMEOUT_S},
            "output_dir": str(folder),
            "benchmarks": [dict(entry)],
        }
        config.write_text(json.dumps(values), "utf-8")
        RecordingStore(db_path_for_eval(folder, EVALUATION)).close()
        started = time.monotonic()
        environment = {
            "OMP_NUM_THREADS": "1",
            **variables("libero"),
            "PYTHONPATH": str(Path(__file__).parent),
            "THINKVLA_TIMES": str(times),
        }
        simulator = command("libero", "thinkvla.evaluate.simulator", "run")
        with (folder / "log").open("wb") as log:
            processes = [
                subprocess.Popen(
                    [*simulator, str(config), str(worker), str(workers), EVALUATION],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                )
                for worker in range(workers)
            ]
            if any([process.wait() for process in processes]):
                raise RuntimeError(f"the simulator failed: {(folder / 'log').read_text()[-2000:]}")
        seconds = time.monotonic() - started
    found: dict[str, Any] = {}
    for aggregate in export_eval(folder, EVALUATION):
        for task in aggregate["tasks"]:
            for episode in task["episodes"]:
                found[f"{instructions.get(task['task'], task['task'])}, {episode['episode_id']}"] = [
                    episode["metrics"]["success"],
                    episode.get("steps"),
                ]
    spent = [json.loads(file.read_text("utf-8")) for file in times.iterdir()]
    total = {name: sum(one.get(name, 0.0) for one in spent) for name in spent[0]}
    return Played(found, seconds, total, len(spent))


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recorded, instructions = record(options, folder / "expert")
        player = Player(recorded)
        server = Remembering(player)
        ours = {
            "benchmark": "vla_eval_libero:Ours",
            "episodes_per_task": options.episodes,
            "params": {"suite": options.suite, "tasks": list(instructions), **server.get_observation_params()},
        }
        theirs = {
            "benchmark": "vla_eval_libero:Upstream",
            "episodes_per_task": options.episodes,
            "max_tasks": options.tasks,
            "params": {"suite": options.suite, **LIBERO.params},
        }
        by_ours = play(server, ours, folder / "ours", options.workers, instructions)
        by_theirs = play(TheirServer(player, LIBERO), theirs, folder / "theirs", options.workers, instructions)
    mine, others = by_ours.outcomes, by_theirs.outcomes
    common.write(
        "libero_harness",
        {
            "suite": options.suite,
            "episodes": len(mine),
            "succeeded": sum(success for success, _ in mine.values()),
            "different_in_success_or_steps": {
                key: (mine.get(key), others.get(key)) for key in mine | others if mine.get(key) != others.get(key)
            },
            "ours": by_ours.figures(),
            "vla_eval": by_theirs.figures(),
            "ours_over_vla_eval": {
                "episodes_per_hour": round(by_theirs.seconds / by_ours.seconds, 2),
                "cpu_seconds_an_episode_after_the_first": round(by_theirs.cpu_seconds / by_ours.cpu_seconds, 2),
            },
            "workers": options.workers,
            "cores": os.cpu_count(),
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
