from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stub_benchmark import StubPolicy
from test_server import talk
from vla_eval import api
from vla_eval.specs import IMAGE_RGB, LANGUAGE, check_specs

from thinkvla.contract import ActionChunk, ContractError, Observation
from thinkvla.data.embodiments import SPECIFICATIONS
from thinkvla.evaluate.harness import LIBERO, HarnessServer
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.run import evaluate_policy

ROBOT = replace(SPECIFICATIONS["libero"].embodiment(20.0), image_size=(4, 4))


class Gripping(StubPolicy):
    """Two actions: open, then closed; keeps what it saw."""

    embodiment = ROBOT
    chunk = 2

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Observation] = []

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        self.seen += observations
        actions = np.zeros((2, 7), np.float32)
        actions[:, 0], actions[:, 6] = 0.25, [1.0, 0.0]
        return [ActionChunk(actions) for _ in observations]


def message() -> dict[str, Any]:
    """As vla-eval's LIBERO class shows it."""
    images = {"agentview": np.full((8, 8, 3), 10, np.uint8), "wrist": np.full((8, 8, 3), 20, np.uint8)}
    return {"images": images, "task_description": "put it there"}


def test_views_and_actions_are_converted() -> None:
    policy = Gripping()
    first, second = talk(HarnessServer(policy, LIBERO), [message(), message()])
    assert first.tolist() == [0.25, 0, 0, 0, 0, 0, -1]  # vla-eval: below zero is open
    assert second.tolist() == [0.25, 0, 0, 0, 0, 0, 1]
    (seen,) = policy.seen
    assert {name: (image.shape, image[0, 0, 0]) for name, image in seen.images.items()} == {
        "front": ((4, 4, 3), 10),
        "wrist": ((4, 4, 3), 20),
    }
    assert seen.instruction == "put it there"


def test_specifications_agree_with_vla_evals_class() -> None:
    server = HarnessServer(Gripping(), LIBERO)
    theirs = {"agentview": IMAGE_RGB, "wrist": IMAGE_RGB, "language": LANGUAGE}
    assert check_specs(server.get_action_spec(), dict(LIBERO.action), server.get_observation_spec(), theirs) == []


@pytest.mark.parametrize("change", [{"name": "bridge"}, {"cameras": ("front", "left")}])
def test_other_robots_are_refused(change: dict[str, Any]) -> None:
    policy = Gripping()
    policy.embodiment = replace(ROBOT, **change)
    with pytest.raises(ContractError, match="is the robot 'libero' with views front, wrist; the policy is for"):
        HarnessServer(policy, LIBERO)


def test_a_policy_that_is_given_points_is_refused_where_there_are_none(tmp_path: Path) -> None:
    policy = Gripping()
    policy.embodiment = replace(ROBOT, point_map_size=(2, 2))
    with pytest.raises(ContractError, match="own class shows no 3D points"):
        HarnessServer(policy, LIBERO)
    for benchmark in ("libero_plus_camera", "simpler_widowx_original"):
        options = EvaluateOptions("mine", tmp_path / "new", benchmark=benchmark)
        with pytest.raises(ContractError, match=f"given 3D points .* and benchmark '{benchmark}' shows none"):
            evaluate_policy(policy, options)
    assert not (tmp_path / "new").exists()


def test_container_is_started_by_vla_eval_and_its_records_are_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def pretend(server: HarnessServer, config: dict[str, Any], **keywords: Any) -> list[dict[str, Any]]:
        asked.update({**config, **keywords})
        episodes = [{"episode_id": k, "metrics": {"success": k == 0}, "steps": 7, "elapsed_sec": 1.0} for k in range(2)]
        return [{"tasks": [{"task": "put it there", "episodes": episodes}]}]

    monkeypatch.setattr(api, "evaluate", pretend)
    options = EvaluateOptions("mine", tmp_path / "new", benchmark="libero_goal", episodes=2, docker="libero:1")
    result = evaluate_policy(Gripping(), options)
    assert [(e.task, e.instruction, e.seed, e.success, e.steps) for e in result.episodes] == [
        ("put it there", "put it there", 0, True, 7),
        ("put it there", "put it there", 1, False, 7),
    ]
    assert result.protocol == {"class": LIBERO.path, "image": "libero:1"}
    assert asked["docker"] is True
    (entry,) = asked["benchmarks"]
    assert entry["params"] == {"seed": 7, "send_wrist_image": True, "suite": "libero_goal"}
    assert entry["episodes_per_task"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"benchmark": "tabletop"}, "'tabletop' does not run in vla-eval's images"),
        ({"tasks": ("a",)}, "tasks does not go with --docker"),
        ({"first_seed": 3}, "first-seed does not go with --docker"),
        ({"videos": 2}, "videos does not go with --docker"),
        ({"perturbation": "light", "level": 1}, "perturbation does not go with --docker"),
    ],
)
def test_options_that_a_container_does_not_take_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    options = EvaluateOptions("mine", tmp_path / "new", benchmark="libero_goal", docker="libero:1")
    with pytest.raises(ValueError, match=words):
        evaluate_policy(Gripping(), replace(options, **change))
