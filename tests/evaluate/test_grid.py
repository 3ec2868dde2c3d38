from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from thinkvla.evaluate import grid
from thinkvla.evaluate.grid import GridOptions, GridRow, grid_table, run_grid
from thinkvla.evaluate.intervals import wilson
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.results import Episode, EvaluationResult

CELLS = [f"{suite}/{name}" for suite in ("object", "spatial") for name in ("plain", "camera-1", "camera-3")]


class Evaluations:
    """Stands for the evaluation of the expert: every episode of level 3 fails, one of all others too."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stop_before: int | None = None

    def __call__(self, options: EvaluateOptions) -> EvaluationResult:
        assert not options.output.exists()
        assert options.suite is not None
        assert options.episodes is not None
        assert options.first_seed is not None
        (options.output / "harness").mkdir(parents=True)
        if len(self.ran) == self.stop_before:
            raise RuntimeError("the power went off")
        self.ran.append(f"{options.suite}/{options.output.name}")
        episodes = tuple(
            Episode("task", "do it", options.first_seed + k, options.level < 3 and k > 0, 30, 1.0, None)
            for k in range(options.episodes)
        )
        result = EvaluationResult(
            policy=options.checkpoint,
            fingerprint=None,
            suite=options.suite,
            episodes=episodes,
            options={**asdict(options), "tasks": [], "output": str(options.output), "execute": 1},
            versions={},
            created="2030-01-01T00:00:00+00:00",
            seconds=1.0,
            perturbation=options.perturbation,
            level=options.level,
        )
        result.save(options.output)
        return result


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Evaluations:
    stand_in = Evaluations()
    monkeypatch.setattr(grid, "evaluate", stand_in)
    return stand_in


@pytest.fixture
def options(tmp_path: Path) -> GridOptions:
    return GridOptions(
        "expert",
        tmp_path / "grid",
        suites=("object", "spatial"),
        perturbations=("none", "camera"),
        levels=(1, 3),
        episodes=4,
    )


def test_every_combination_runs_once_plain_scenes_at_no_level(evaluations: Evaluations, options: GridOptions) -> None:
    rows = run_grid(options)
    assert evaluations.ran == CELLS
    assert [(row.suite, row.axis, row.level) for row in rows[:3]] == [
        ("object", None, 0),
        ("object", "camera", 1),
        ("object", "camera", 3),
    ]
    assert rows[1] == GridRow("object", "camera", 1, 3, 4, 0, *wilson(3, 4))
    values = json.loads((options.output / "grid.json").read_text())
    assert values["format"] == "thinkvla-grid/1"
    assert (values["policy"], values["fingerprint"], values["options"]["episodes"]) == ("expert", None, 4)
    assert values["rows"] == [asdict(row) for row in rows]


def test_a_stopped_grid_goes_on_where_it_was(
    evaluations: Evaluations, options: GridOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluations.stop_before = 2
    with pytest.raises(RuntimeError, match="power"):
        run_grid(options)
    assert len(json.loads((options.output / "grid.json").read_text())["rows"]) == 2
    evaluations.stop_before = None
    rows = run_grid(options)
    assert evaluations.ran == CELLS
    assert len(rows) == 6
    assert "1 of 6: object, plain is complete" in capsys.readouterr().err
    more = replace(options, perturbations=("none", "camera", "light"))
    assert len(run_grid(more)) == 10
    assert evaluations.ran[6:] == [f"{suite}/light-{level}" for suite in ("object", "spatial") for level in (1, 3)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"episodes": 5}, "episodes was 4, now is 5"),
        ({"first_seed": 1_005_000}, "first_seed was 1004000, now is 1005000"),
    ],
)
def test_other_options_for_the_same_folder_are_refused(
    evaluations: Evaluations, options: GridOptions, change: dict[str, Any], words: str
) -> None:
    run_grid(replace(options, suites=("spatial",)))
    with pytest.raises(ValueError, match=f"plain was made with other options: {words}"):
        run_grid(replace(options, **change))
    assert len(evaluations.ran) == 3


def test_a_folder_with_other_things_in_it_is_left_alone(evaluations: Evaluations, options: GridOptions) -> None:
    folder = options.output / "object" / "plain"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds \['thesis.txt'\]"):
        run_grid(options)
    assert (folder / "thesis.txt").is_file()


def test_suites_of_libero_are_benchmarks_with_defaults_of_their_own(
    evaluations: Evaluations, options: GridOptions
) -> None:
    several = replace(options, benchmark=("libero_goal", "libero_10"), suites=("object",), levels=(2,))
    rows = run_grid(several)
    assert evaluations.ran == [f"{name}/{cell}" for name in several.benchmark for cell in ("plain", "camera-2")]
    assert [row.suite for row in rows] == ["libero_goal"] * 2 + ["libero_10"] * 2
    of_libero = EvaluationResult.load(options.output / "libero_goal" / "camera-2")
    assert {episode.seed for episode in of_libero.episodes} == set(range(4)), "numbers of initial states"
    run_grid(replace(several, benchmark=("libero_goal", "tabletop")))
    assert evaluations.ran[4:] == ["object/plain", "object/camera-2"]
    assert EvaluationResult.load(options.output / "object" / "plain").episodes[0].seed == 1_004_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"benchmark": ("libero_objekt",)}, "did you mean 'libero_object'"),
        ({"benchmark": ("libero_goal",)}, "libero_goal has none; leave --suites away"),
        ({"benchmark": ("libero_plus_camera", "tabletop"), "episodes": 1}, "has no perturbation"),
        ({"suites": ("objekt",)}, "did you mean 'object'"),
        ({"perturbations": ("nose",)}, "did you mean 'noise'"),
        ({"levels": (1, 4)}, "level is 4"),
        ({"levels": ()}, "levels are"),
        ({"suites": ("object", "object")}, "each once"),
        ({"checkpoint": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_unfit_options_are_refused_before_anything_runs(
    evaluations: Evaluations, options: GridOptions, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        run_grid(replace(options, **change))
    assert evaluations.ran == []
    assert not options.output.exists()


def test_the_table_shows_rates_with_intervals_and_errors() -> None:
    rows = [GridRow("object", None, 0, 3, 4, 1, 0.301, 0.954), GridRow("object", "light", 2, 0, 0, 5, 0.0, 1.0)]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(grid_table(rows))
    plain, light = [line for line in capture.get().splitlines() if "object" in line]
    assert all(word in plain for word in ("none", "3 of 4", "75.0 %", "30.1–95.4 %"))
    assert all(word in light for word in ("light", "2", "0 of 0", "–", "5"))
