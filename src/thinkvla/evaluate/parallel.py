"""Runs a vla-eval benchmark in several simulator processes against one model server in this process.

The processes share vla-eval's queue (an SQLite file), so a slow episode holds up nobody. What each episode did is in
the same file; a process that dies leaves its episodes out, and the caller counts them as errors.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from vla_eval.api import serve_background
from vla_eval.recording import RecordingStore, db_path_for_eval
from vla_eval.results.export import export_eval

from thinkvla.environments.process import command, variables
from thinkvla.evaluate.description import Description
from thinkvla.progress import progress

EVALUATION = "evaluation"
ANSWER_TIMEOUT_S = 600.0  # a first batch on a busy laptop takes a while; vla-eval's own default is 30 s
POLL_S = 0.5


def run_parallel(
    server: Any,
    benchmark: Mapping[str, Any],
    description: Description,
    *,
    output: Path,
    workers: int,
    environment: str | None = None,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate and return vla-eval's episode records, with their task name as ``task`` and their steps as ``rows``.

    Args:
        server: a vla-eval ModelServer.
        benchmark: one vla-eval benchmark entry (``benchmark``, ``episodes_per_task``, ``params``, …).
        description: what ``describe`` says of it.
        output: new folder for vla-eval's recording and the processes' logs.
        workers: simulator processes.
        environment: isolated environment that they run in; None: this interpreter.
        resume: ``output`` is the folder of such an evaluation that was stopped; run what it lacks.

    Raises RuntimeError when no episode could be started.
    """
    episodes = len(description.tasks) * benchmark["episodes_per_task"]
    database = db_path_for_eval(output, EVALUATION)
    output.mkdir(parents=True, exist_ok=resume)
    RecordingStore(database).close()
    if resume:
        _release(database, benchmark["episodes_per_task"])
    with ExitStack() as stack:
        handle = stack.enter_context(serve_background(server))
        config = {
            "server": {"url": handle.url, "timeout": ANSWER_TIMEOUT_S},
            "output_dir": str(output.resolve()),
            "benchmarks": [dict(benchmark)],
        }
        config_file = output / "config.json"
        config_file.write_text(json.dumps(config, indent=2), "utf-8")
        processes = [
            stack.enter_context(_simulator(config_file, worker, workers, output, environment))
            for worker in range(workers)
        ]
        _wait(processes, database, episodes)
    records = [
        {**episode, "task": task["task"], "rows": _rows(database, episode)}
        for aggregate in export_eval(output, EVALUATION)
        for task in aggregate["tasks"]
        for episode in task["episodes"]
    ]
    if not records:
        log = output / "worker-0.log"
        reason = (log.read_text("utf-8").strip() or "the log is empty").splitlines()[-1]
        raise RuntimeError(f"no episode could be started: {reason} (see {log})")
    return records


def _release(database: Path, episodes: int) -> None:
    """Give back what simulators took and did not finish, with episodes that ended in an error, for others to take."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("DELETE FROM episode_results WHERE status = 'error'")
        found = connection.execute("SELECT json_extract(context, '$.task_idx'), episode_id FROM episode_results")
        done = [(task * episodes + episode,) for task, episode in found]
        connection.execute("UPDATE work_queue SET done = 0, shard_id = NULL")
        connection.executemany("UPDATE work_queue SET done = 1 WHERE item = ?", done)


@contextmanager
def _simulator(
    config: Path, worker: int, workers: int, output: Path, environment: str | None
) -> Iterator[subprocess.Popen[bytes]]:
    """One running simulator process, ended on the way out; it ends by itself when this process is killed."""
    arguments = ("run", str(config), str(worker), str(workers), EVALUATION)
    with (output / f"worker-{worker}.log").open("wb") as log:
        process = subprocess.Popen(
            command(environment, "thinkvla.evaluate.simulator", *arguments),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": "1", **variables(environment)},  # more would only fight over the cores
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _wait(processes: list[subprocess.Popen[bytes]], database: Path, episodes: int) -> None:
    """Show progress until every process has ended."""
    with progress("episodes") as display:
        bar = display.add_task("evaluating", total=episodes)
        running = True
        while running:
            running = any(process.poll() is None for process in processes)
            counts = _counts(database)
            found = f"evaluating: {counts.get('success', 0)} succeeded"
            if counts.get("error"):
                found += f", {counts['error']} with errors"
            display.update(bar, completed=sum(counts.values()), description=found)
            if running:
                time.sleep(POLL_S)


def _counts(database: Path) -> dict[str, int]:
    """Episodes recorded so far, by status (success, fail, error)."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        return dict(connection.execute("SELECT status, COUNT(*) FROM episode_results GROUP BY status"))


def _rows(database: Path, episode: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the benchmark recorded at each step of one episode, in order."""
    query = "SELECT fields FROM step_rows WHERE sid = ? AND eid = ? ORDER BY step_id"
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        return [json.loads(fields) for (fields,) in connection.execute(query, (episode["sid"], episode["eid"]))]
