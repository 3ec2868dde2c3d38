"""LIBERO itself, where its environment is installed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from thinkvla.environments.check import check
from thinkvla.environments.process import command, problem, variables
from thinkvla.environments.table import find_environment
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.run import evaluate

MISSING = problem(find_environment("libero"))
pytestmark = [
    pytest.mark.simulators,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(MISSING is not None, reason=f"environment 'libero' {MISSING}; thinkvla env install libero"),
]
SOUP = "pick_up_the_alphabet_soup_and_place_it_in_the_basket"


def inside(module: str) -> dict[str, Any]:
    """What a module of this folder prints, run by LIBERO's own interpreter."""
    ended = subprocess.run(
        command("libero", module),
        env={**variables("libero"), "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def test_steps_resets_and_views_are_robosuites_to_the_last_bit() -> None:
    found = inside("compare_with_robosuite")
    assert found.pop("moved") > 0.01
    assert found == {"reset": True, "restored": True, "views": 0}


def test_points_are_the_demonstrations_and_a_seed_makes_one_scene() -> None:
    found = inside("points_and_resets")
    assert found["same views"], "points do not change what is seen"
    assert found["apart"] < 0.001, "metres from a demonstration's points of the same moment"
    assert found["floor"] < 0.02
    for suite in ("libero_goal", "libero_10"):
        assert found[suite] == {"same again": True, "other": True}


def test_environment_checks_itself() -> None:
    report = check("libero")
    assert report.problems == ()
    assert report.found["mujoco"] == "3.2.3"
    assert "differs from the stored one by" in report.found["frame"]


def test_served_expert_solves_the_task(tmp_path: Path) -> None:
    options = EvaluateOptions(
        "expert", tmp_path / "new", benchmark="libero_object", tasks=(SOUP,), episodes=1, workers=1, videos=1
    )
    result = evaluate(options)
    (episode,) = result.episodes
    assert episode.error is None
    assert (episode.success, episode.seed, episode.task) == (True, 0, SOUP)
    assert episode.instruction == "pick up the alphabet soup and place it in the basket"
    assert episode.steps < 280
    assert (result.benchmark, result.suite) == ("libero_object", "libero_object")
    assert result.simulator["mujoco"] == "3.2.3"
    assert result.protocol["step limit"] == 280
    assert [file.name for file in (tmp_path / "new" / "videos").iterdir()] == [episode.video_name]


def test_unknown_tasks_and_cameras_are_refused(tmp_path: Path) -> None:
    options = EvaluateOptions("expert", tmp_path / "new", benchmark="libero_object", tasks=("pick_up_the_soup",))
    with pytest.raises(ValueError, match="suite libero_object has no task 'pick_up_the_soup'"):
        evaluate(options)
    assert not (tmp_path / "new").exists()
