from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from result_files import stable
from stub_benchmark import ROBOT, StubPolicy

from thinkvla.contract import ActionChunk, ContractError, Observation
from thinkvla.evaluate import benchmarks
from thinkvla.evaluate.benchmark import Benchmark
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.results import EvaluationResult
from thinkvla.evaluate.run import check, evaluate, evaluate_policy

STUB = Benchmark(
    "stub",
    "a number that is pushed",
    path="stub_benchmark:StubBenchmark",
    views=False,
    suite="stub",
    episodes=3,
    most_episodes=5,
)


@pytest.fixture(autouse=True)
def _stub_among_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmarks.BENCHMARKS, "stub", STUB)


def options(output: Path, **changes: Any) -> EvaluateOptions:
    return replace(EvaluateOptions("pusher", output / "new", benchmark="stub"), **changes)


def test_results_name_benchmark_protocol_and_simulator(tmp_path: Path) -> None:
    result = evaluate_policy(StubPolicy(), options(tmp_path, first_seed=1, execute=2))
    assert [(e.task, e.seed, e.success) for e in result.episodes] == [
        *(("near", seed, True) for seed in (1, 2, 3)),
        *(("far", seed, False) for seed in (1, 2, 3)),
    ]
    loaded = EvaluationResult.load(tmp_path / "new")
    assert (loaded.benchmark, loaded.suite) == ("stub", "stub")
    assert (loaded.protocol, loaded.simulator) == ({"step limit": 12}, {"stub": "1"})
    assert (loaded.options["episodes"], loaded.options["first_seed"], loaded.options["execute"]) == (3, 1, 2)


class Killed(StubPolicy):
    """Kills its own process, as an administrator might, in the middle of things."""

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        if len(self.batches) == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().act(observations)


def test_killed_evaluation_resumed_gives_the_result_of_an_undisturbed_one(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import test_benchmarks as t\n"
        "t.benchmarks.BENCHMARKS['stub'] = t.STUB\n"
        "t.evaluate_policy(t.Killed(), t.options(Path(sys.argv[1]), execute=2, workers=1))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "new" / "results.json").exists()
    policy = StubPolicy()
    evaluate_policy(policy, options(tmp_path, execute=2, workers=2, resume=True))
    assert sum(policy.batches) < 3 * 6 + 3  # what was done is not done again
    evaluate_policy(StubPolicy(), options(tmp_path / "undisturbed", execute=2, workers=2))
    resumed, undisturbed = (stable(folder / "new") for folder in (tmp_path, tmp_path / "undisturbed"))
    assert resumed == undisturbed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"benchmark": "libero_objects"}, "did you mean 'libero_object'"),
        ({"suite": "object"}, "benchmark 'stub' has no suite; leave --suite away"),
        ({"perturbation": "light", "level": 1}, "has no perturbation"),
        ({"episodes": 6}, "has episodes 0 to 4 of each task; first_seed 0 and 6 episodes end at 5"),
        ({"first_seed": -1}, "first_seed is -1"),
        ({"videos": 2}, "makes no videos"),
        ({"checkpoint": "expert"}, "no scripted expert"),
        ({"resume": True}, "holds no evaluation to go on with"),
    ],
)
def test_unfit_options_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate(options(tmp_path, **change))
    assert not (tmp_path / "new").exists()


def test_complete_evaluation_is_not_resumed_and_another_one_neither(tmp_path: Path) -> None:
    asked = options(tmp_path, tasks=("near",), episodes=1, workers=1)
    evaluate_policy(StubPolicy(), asked)
    with pytest.raises(ValueError, match="is complete"):
        evaluate_policy(StubPolicy(), replace(asked, resume=True))
    (tmp_path / "new" / "results.json").unlink()
    with pytest.raises(ValueError, match=r"was asked otherwise: execute was 4, now is 2; entry was .*give the same"):
        evaluate_policy(StubPolicy(), replace(asked, resume=True, execute=2))


def test_other_robot_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    policy = StubPolicy()
    policy.embodiment = replace(ROBOT, control_hz=5.0)
    with pytest.raises(ContractError, match="disagree"):
        evaluate_policy(policy, options(tmp_path))
    assert not (tmp_path / "new").exists()


def test_views_are_asked_for_as_the_policy_sees_them(tmp_path: Path) -> None:
    benchmark = replace(STUB, views=True, params={"suite": "far"})
    _, asked = check(options(tmp_path))
    assert benchmark.entry(asked, ROBOT) == {
        "benchmark": "stub_benchmark:StubBenchmark",
        "episodes_per_task": 3,
        "params": {
            "suite": "far",
            "tasks": [],
            "first_seed": 0,
            "cameras": ["front", "wrist"],
            "image_size": [4, 6],
        },
    }


def test_missing_environment_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINKVLA_ENVIRONMENTS", str(tmp_path / "environments"))
    with pytest.raises(
        ValueError, match=r"environment 'libero' .* is not installed; run 'thinkvla env install libero'"
    ):
        evaluate_policy(StubPolicy(), options(tmp_path, benchmark="libero_goal"))
    assert not (tmp_path / "new").exists()
