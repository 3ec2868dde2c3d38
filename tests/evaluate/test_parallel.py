from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stub_benchmark import MAX_STEPS, StubPolicy

from thinkvla.evaluate.description import describe
from thinkvla.evaluate.parallel import run_parallel
from thinkvla.evaluate.server import PolicyServer


def run(output: Path, policy: StubPolicy | None = None, resume: bool = False, **params: Any) -> list[dict[str, Any]]:
    server = PolicyServer(policy or StubPolicy(), execute=2, batch=2)
    entry = {"benchmark": "stub_benchmark:StubBenchmark", "episodes_per_task": 2, "params": params}
    return run_parallel(server, entry, describe(entry), output=output / "run", workers=2, resume=resume)


def test_two_simulators_end_to_end(tmp_path: Path) -> None:
    policy = StubPolicy()
    records = run(tmp_path, policy)
    outcomes = sorted((r["task"], r["episode_id"], r["metrics"]["success"], r["steps"]) for r in records)
    assert outcomes == [
        ("far", 0, False, MAX_STEPS),
        ("far", 1, False, MAX_STEPS),
        ("near", 0, True, 2),
        ("near", 1, True, 2),
    ]
    assert sum(policy.batches) == 2 * (MAX_STEPS // 2) + 2 * 1
    assert all(row["action"][0] == 0.5 for record in records for row in record["rows"])
    assert all(len(record["rows"]) == record["steps"] for record in records)


def test_crashed_episode_is_an_error(tmp_path: Path) -> None:
    records = run(tmp_path, crash="far")
    crashed = [r for r in records if r.get("failure_reason")]
    assert {r["task"] for r in crashed} == {"far"}
    assert all("the stub simulator broke" in r["failure_detail"] for r in crashed)
    assert [r["metrics"]["success"] for r in records if r["task"] == "near"] == [True, True]


def test_dead_simulator_leaves_its_episode_out(tmp_path: Path) -> None:
    assert {r["task"] for r in run(tmp_path, die="far")} <= {"near"}


def test_unusable_simulator_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no episode could be started: .* \(see .*worker-0.log\)"):
        run(tmp_path, die="*")


def test_stopped_evaluation_goes_on_with_what_it_lacks(tmp_path: Path) -> None:
    run(tmp_path, die="far")
    policy = StubPolicy()
    records = run(tmp_path, policy, resume=True)
    assert sorted((r["task"], r["episode_id"], r["metrics"]["success"]) for r in records) == [
        ("far", 0, False),
        ("far", 1, False),
        ("near", 0, True),
        ("near", 1, True),
    ]
    assert sum(policy.batches) <= 2 * (MAX_STEPS // 2) + 2  # at most the near ones that had not been reached, too


def test_episodes_with_errors_run_again_when_resumed(tmp_path: Path) -> None:
    run(tmp_path, crash="far")
    records = run(tmp_path, resume=True)
    assert len(records) == 4
    assert not any(record.get("failure_reason") for record in records)
