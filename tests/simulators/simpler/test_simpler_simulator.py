"""SimplerEnv on ManiSkill3 itself, where its environment is installed and its assets are at hand."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinkvla.contract import ActionChunk, Observation
from thinkvla.environments.check import check
from thinkvla.environments.process import command, problem, variables
from thinkvla.environments.table import find_environment
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.run import evaluate, evaluate_policy
from thinkvla.simulators.simpler.embodiment import embodiment

MISSING = problem(find_environment("simpler"))
BESIDE = Path(__file__).parents[4] / "shared/assets/simplerenv-widowx.tgz"
ASSETS = Path(os.environ.get("THINKVLA_SIMPLER_ASSETS") or BESIDE)
pytestmark = [
    pytest.mark.simulators,
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # SAPIEN renders on the CPU
    pytest.mark.skipif(MISSING is not None, reason=f"environment 'simpler' {MISSING}; thinkvla env install simpler"),
]
needs_assets = pytest.mark.skipif(
    not ASSETS.exists(), reason=f"SimplerEnv's assets are not in {ASSETS}; set THINKVLA_SIMPLER_ASSETS"
)


@pytest.fixture(scope="module")
def inside() -> dict[str, Any]:
    """What ``simpler_inside.py`` found."""
    ended = subprocess.run(
        command("simpler", "simpler_inside", str(ASSETS)),
        env={**variables("simpler"), "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def test_environment_checks_itself() -> None:
    report = check("simpler")
    assert report.problems == ()
    assert report.found["mani-skill"] == "3.0.1"
    assert "of 255 from the stored frame" in report.found["rendering"]


@needs_assets
def test_episodes_repeat_whatever_came_before(inside: dict[str, Any]) -> None:
    assert inside["repeats"]


@needs_assets
def test_controller_aims_where_the_original_would(inside: dict[str, Any]) -> None:
    assert inside["metres"] < 1e-5
    assert inside["radians"] < 1e-3


@needs_assets
def test_scene_and_view(inside: dict[str, Any]) -> None:
    assert inside["view"] == [480, 640, 3, "uint8"]
    assert 500 < inside["carrot"] < 10_000  # the carrot is seen, on the photograph
    assert inside["resizing"] <= 1.0  # rounding
    if inside["table"] == "box":
        assert abs(inside["plate"] - (0.86974 - 0.870)) < 1e-3  # the robot stands at 0.870 m


@needs_assets
def test_served_expert_does_as_in_the_simulator(inside: dict[str, Any], tmp_path: Path) -> None:
    options = EvaluateOptions(
        "expert",
        tmp_path / "new",
        benchmark="simpler_widowx",
        assets=ASSETS,
        tasks=("carrot",),
        episodes=1,
        workers=1,
        max_steps=30,
    )
    result = evaluate(options)
    (episode,) = result.episodes
    assert episode.error is None
    assert episode.success is inside["expert"]["success"] is True
    assert (episode.instruction, episode.steps) == ("put carrot on plate", 30)
    assert result.protocol["step limit"] == 30
    assert result.simulator["sapien"] == "3.0.3"


class Still:
    """Stands still with an open hand, and keeps what it saw."""

    embodiment = embodiment(["primary"], (96, 128))
    chunk = 2

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        self.seen += observations
        return [ActionChunk(np.array([[0, 0, 0, 0, 0, 0, 1]] * 2, np.float32)) for _ in observations]


@needs_assets
def test_policy_sees_the_view_once_a_chunk(tmp_path: Path) -> None:
    policy = Still()
    options = EvaluateOptions(
        "still",
        tmp_path / "new",
        benchmark="simpler_widowx",
        assets=ASSETS,
        tasks=("carrot",),
        episodes=1,
        workers=1,
        max_steps=4,
    )
    (episode,) = evaluate_policy(policy, options).episodes
    assert (episode.error, episode.success, episode.steps) == (None, False, 4)
    assert [seen.instruction for seen in policy.seen] == ["put carrot on plate"] * 2
    for seen in policy.seen:
        view = seen.images["primary"]
        assert (view.shape, str(view.dtype)) == ((96, 128, 3), "uint8")
        orange = (view[..., 0] > 180) & (view[..., 2] < 80) & (view[..., 1] < 150)
        assert 20 < orange.sum() < 400
