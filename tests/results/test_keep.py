from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thinkvla.ablations import ABLATIONS
from thinkvla.checkpoint import fingerprint, load_checkpoint
from thinkvla.cli import run
from thinkvla.evaluate.results import Episode, EvaluationResult
from thinkvla.method.config import MethodConfig
from thinkvla.results.keep import KeepOptions, keep, method_name
from thinkvla.results.kept import EXPLICIT, load_kept


def evaluated(folder: Path, mark: str | None, **changes: Any) -> Path:
    episodes = tuple(Episode("lift", "lift it", seed, seed < 2, 30, 1.0, None) for seed in range(3))
    broken = Episode("push", "push it", 0, None, 0, 1.0, "broken")
    result = EvaluationResult(
        policy=f"{folder}/policy",
        fingerprint=mark,
        suite="object",
        episodes=(*episodes, broken),
        options={"checkpoint": f"{folder}/policy", "output": str(folder), "execute": 2, "first_seed": 7},
        versions={"mujoco": "4.0.0", "platform": "of a machine"},
        created="2030-01-01T00:00:00+00:00",
        seconds=3.0,
    )
    folder.mkdir(parents=True)
    replace(result, **changes).save(folder)
    return folder


@pytest.fixture
def trained(plain: Path, tmp_path: Path) -> Path:
    """A run's folder as training leaves it, as far as this needs it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "policy").symlink_to(plain)
    (folder / "command.txt").write_text("thinkvla train tabletop_r1 --seed 3 --output runs/x\n")
    (folder / "config.json").write_text(json.dumps({"seed": 3, "steps": 10, "batch_size": 4, "accumulation": 2}))
    data = [
        {"kind": "demonstrations", "episodes": 5, "frames": 100},
        {"kind": "demonstrations", "episodes": 7, "frames": 150},
        {"kind": "general questions", "rows": 9},
    ]
    (folder / "data.json").write_text(json.dumps(data))
    return folder


def test_a_file_tells_policy_and_evaluations(trained: Path, tmp_path: Path) -> None:
    mark = fingerprint(trained / "policy")
    evaluated(tmp_path / "results" / "object" / "plain", mark)
    evaluated(tmp_path / "results" / "object" / "camera-2", mark, perturbation="camera", level=2)
    output = tmp_path / "kept" / "mine.json"
    assert run(["results", "keep", str(trained), str(tmp_path / "results"), "--output", str(output)]) == 0
    kept = load_kept(output)
    policy = kept.policy
    assert (kept.name, policy.recipe, policy.method, policy.fingerprint) == ("mine", "tabletop_r1", "R1", mark)
    assert (policy.seed, policy.demonstrations, policy.frames, policy.samples) == (3, 12, 250, 80)
    network, _ = load_checkpoint(trained / "policy")
    assert policy.parameters == sum({p.data_ptr(): p.numel() for p in network.parameters()}.values())
    first, second = kept.evaluations
    assert (first.benchmark, first.suite, first.perturbation, second.perturbation) == (
        "tabletop",
        "object",
        None,
        "camera",
    )
    assert (first.successes, first.episodes, first.errors) == (2, 3, 1)
    assert first.tasks == {"lift": (2, 3), "push": (0, 0)}
    assert first.options == {"execute": 2, "first_seed": 7}
    assert first.versions == {"mujoco": "4.0.0"}
    assert str(tmp_path) not in output.read_text()


def test_evaluations_of_another_policy_are_refused(trained: Path, tmp_path: Path) -> None:
    evaluated(tmp_path / "results", "another")
    with pytest.raises(ValueError, match="evaluates the policy another"):
        keep(KeepOptions(str(trained), (tmp_path / "results",), tmp_path / "kept.json"))
    assert not (tmp_path / "kept.json").exists()


def test_a_run_without_its_command_is_refused(trained: Path, tmp_path: Path) -> None:
    (trained / "command.txt").write_text("python train.py\n")
    with pytest.raises(ValueError, match="expected 'thinkvla train RECIPE'"):
        keep(KeepOptions(str(trained), (tmp_path,), tmp_path / "kept.json"))
    (trained / "command.txt").unlink()
    with pytest.raises(ValueError, match=r"command\.txt is missing; give the folder of a run"):
        keep(KeepOptions(str(trained), (tmp_path,), tmp_path / "kept.json"))


def test_methods_have_the_names_of_the_ablation_table() -> None:
    for name, row in ABLATIONS.items():
        assert method_name(MethodConfig(*row)) == name
    plain = MethodConfig(*ABLATIONS["R1"])
    assert method_name(replace(plain, explicit_points=True)) == EXPLICIT
    for other in (replace(plain, reasoning_anchor=True), replace(plain, qa_data="2d", explicit_points=True)):
        with pytest.raises(ValueError, match="is no row of the ablation table"):
            method_name(other)
