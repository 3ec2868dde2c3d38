"""LIBERO's perturbations in the simulator itself: each axis changes what it should, and nothing else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from thinkvla.environments.process import command, problem, variables
from thinkvla.environments.table import find_environment
from thinkvla.perturbation import AXES

MISSING = problem(find_environment("libero"))
pytestmark = [
    pytest.mark.simulators,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(MISSING is not None, reason=f"environment 'libero' {MISSING}; thinkvla env install libero"),
]
SAME = 1e-9


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    ended = subprocess.run(
        command("libero", "perturbed_episodes"),
        env={**variables("libero"), "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    values: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return values


@pytest.mark.parametrize("axis", ["camera", "language", "light", "background", "noise"])
def test_what_is_seen_or_said_moves_nothing(found: dict[str, Any], axis: str) -> None:
    assert found[axis]["joints"] == {}
    assert found[axis]["added"] == []
    assert found[axis]["hand"] < SAME
    assert (found[axis]["front"] > 3) == (axis != "language")


def test_the_wrist_sees_what_is_there(found: dict[str, Any]) -> None:
    assert found["camera"]["wrist"] == 0
    assert found["language"]["wrist"] == 0
    assert found["language"]["front"] == 0
    assert all(found[axis]["wrist"] > 1 for axis in ("light", "background", "noise", "robot"))


def test_the_robot_alone_starts_elsewhere_and_stays_there(found: dict[str, Any]) -> None:
    assert found["robot"]["arm alone"]
    assert len(found["robot"]["joints"]) >= 6
    assert 0.05 < found["robot"]["hand"] < 0.14, "after a control step the controller has not taken it back"


def test_things_move_and_others_come(found: dict[str, Any]) -> None:
    layout = found["layout"]
    assert set(layout["joints"]) <= {"akita_black_bowl_1_joint0", "wine_bottle_1_joint0"}
    assert all(0.01 < way <= 0.04 + SAME for way in layout["joints"].values())
    assert len(layout["added"]) == 2
    assert layout["fixtures stay"]
    assert layout["deepest"] > -0.004, "nothing stands in anything"


@pytest.mark.parametrize("axis", AXES)
def test_no_start_is_the_goal_and_words_change_along_language_alone(found: dict[str, Any], axis: str) -> None:
    assert not found[axis]["done"]
    plain = "put the black bowl in the bottom drawer of the cabinet and close it"
    assert (found[axis]["instruction"] == plain) == (axis != "language")


@pytest.mark.parametrize("axis", AXES)
def test_an_episode_begins_the_same_whatever_came_before(found: dict[str, Any], axis: str) -> None:
    assert found[axis]["again"] == {"joints": {}, "fixtures stay": True, "front": 0.0, "wrist": 0.0}
    assert found[axis]["fixtures stay"]
