from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinkvla.evaluate.results import Episode, EvaluationResult, Rate
from thinkvla.evaluate.videos import choose


def episode(task: str, seed: int, success: bool | None) -> Episode:
    return Episode(task, f"do {task}", seed, success, 30, 1.5, "broken" if success is None else None)


def result(episodes: tuple[Episode, ...]) -> EvaluationResult:
    return EvaluationResult(
        policy="some/checkpoint",
        fingerprint="0123",
        suite="object",
        episodes=episodes,
        options={"episodes": 2},
        versions={"thinkvla": "0.1.0"},
        created="2030-01-01T00:00:00+00:00",
        seconds=3.0,
    )


MIXED = (episode("a", 1, True), episode("a", 2, False), episode("b", 1, None), episode("b", 2, True))


def test_errors_are_not_failures() -> None:
    total = result(MIXED).total
    assert (total.successes, total.episodes, total.errors) == (2, 3, 1)
    assert total.value == pytest.approx(2 / 3)
    assert total.low < 2 / 3 < total.high


def test_only_errors_have_no_rate() -> None:
    rate = Rate.of([episode("a", 1, None)])
    assert rate.value is None
    assert (rate.low, rate.high) == (0.0, 1.0)


def test_tasks_keep_their_order() -> None:
    rates = result((episode("b", 1, True), *MIXED)).tasks
    assert list(rates) == ["b", "a"]
    assert (rates["b"].successes, rates["b"].episodes, rates["b"].errors) == (2, 2, 1)


def test_file_round_trip_and_schema(tmp_path: Path) -> None:
    result(MIXED).save(tmp_path)
    assert EvaluationResult.load(tmp_path) == result(MIXED)
    values = json.loads((tmp_path / "results.json").read_text())
    assert values["format"] == "thinkvla-evaluation/2"
    assert (values["perturbation"], values["level"]) == (None, 0)
    assert values["rate"]["rate"] == pytest.approx(2 / 3)
    assert values["tasks"]["a"] == {
        "successes": 1,
        "episodes": 2,
        "errors": 0,
        "low": pytest.approx(0.0945, abs=1e-3),
        "high": pytest.approx(0.9055, abs=1e-3),
        "rate": 0.5,
    }
    assert values["episodes"][2] == {
        "task": "b",
        "instruction": "do b",
        "seed": 1,
        "success": None,
        "steps": 30,
        "seconds": 1.5,
        "error": "broken",
    }


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results\.json does not exist"):
        EvaluationResult.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other/9"}, "format is 'other/9'"),
        ({"format": "thinkvla-evaluation/1"}, "reads 'thinkvla-evaluation/2'; run the evaluation again"),
        ({"seconds": ...}, r"\['seconds'\] are missing"),
        ({"perturbation": ..., "level": ...}, r"\['perturbation', 'level'\] are missing"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    result(MIXED).save(tmp_path)
    file = tmp_path / "results.json"
    values = {key: value for key, value in {**json.loads(file.read_text()), **change}.items() if value is not ...}
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=words):
        EvaluationResult.load(tmp_path)


def test_films_successes_and_failures_of_different_tasks() -> None:
    episodes = [episode(task, seed, task != "c") for task in "abc" for seed in range(3)]
    chosen = choose(episodes, 4)
    assert [(e.task, e.seed) for e in chosen] == [("a", 0), ("c", 0), ("b", 0), ("c", 1)]
    assert choose([episode("a", 1, None)], 4) == []
    assert len(choose(episodes, 100)) == 9
