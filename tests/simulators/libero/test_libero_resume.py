"""An evaluation in LIBERO that is killed twice, beside one that nobody disturbs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from result_files import stable
from vla_eval.recording import db_path_for_eval

from thinkvla.environments.process import problem
from thinkvla.environments.table import find_environment
from thinkvla.evaluate.parallel import EVALUATION
from thinkvla.evaluate.run import HARNESS

MISSING = problem(find_environment("libero"))
pytestmark = [
    pytest.mark.simulators,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(MISSING is not None, reason=f"environment 'libero' {MISSING}; thinkvla env install libero"),
]
TASKS = (
    "pick_up_the_alphabet_soup_and_place_it_in_the_basket",
    "pick_up_the_cream_cheese_and_place_it_in_the_basket",
)
EPISODES = 2


def test_killed_evaluation_resumed_gives_the_result_of_an_undisturbed_one(tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    kill_amid(start(killed), killed, after=1)
    kill_amid(start(killed, "--resume"), killed, after=2)
    assert start(killed, "--resume").wait() == 0
    assert start(undisturbed).wait() == 0
    assert stable(killed) == stable(undisturbed)
    outcomes = [(episode["task"], episode["seed"], episode["success"]) for episode in stable(killed)["episodes"]]
    assert outcomes == [(task, seed, True) for task in TASKS for seed in range(EPISODES)]


def start(output: Path, *more: str) -> subprocess.Popen[bytes]:
    arguments = ["expert", "--benchmark", "libero_object", "--tasks", *TASKS, "--episodes", str(EPISODES)]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "thinkvla",
            "eval",
            *arguments,
            "--workers",
            "1",
            "--videos",
            "0",
            "--output",
            str(output),
            *more,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


def kill_amid(process: subprocess.Popen[bytes], output: Path, after: int) -> None:
    """Kill the evaluation in the midst of an episode, when so many are done."""
    while finished(output) < after:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert after <= finished(output) < len(TASKS) * EPISODES
    assert not (output / "results.json").exists()


def finished(output: Path) -> int:
    """Episodes that are recorded."""
    database = db_path_for_eval(output / HARNESS, EVALUATION)
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        try:
            return int(connection.execute("SELECT COUNT(*) FROM episode_results").fetchone()[0])
        except sqlite3.OperationalError:  # its tables are being made
            return 0
