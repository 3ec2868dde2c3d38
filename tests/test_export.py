"""Publishing: a folder with a card made from the run, loaded again, uploaded; and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from tiny_models import EMBODIMENT, observation

import thinkvla
from thinkvla.checkpoint import fingerprint
from thinkvla.cli import run
from thinkvla.deploy import load_policy
from thinkvla.evaluate.results import Episode, EvaluationResult
from thinkvla.export import ExportOptions, export
from thinkvla.train.config import TrainConfig
from thinkvla.train.loop import train

COMMAND = "thinkvla train tabletop --steps 2"


def two_steps(config: TrainConfig) -> TrainConfig:
    optimizer = replace(config.optimizer, warmup_steps=1)
    return replace(config, steps=2, batch_size=1, question_batch_size=1, optimizer=optimizer)


@pytest.fixture
def trained(small_run: TrainConfig) -> Path:
    """A run of two steps, on general questions that state a licence."""
    card = Path(small_run.data.general_qa[0]) / "README.md"
    card.write_text("---\nlicense: cc-by-4.0\n---\n# Questions\n")
    train(two_steps(small_run), command=COMMAND)
    card.unlink()
    return small_run.output


def evaluation(folder: Path, mark: str) -> Path:
    episodes = tuple(Episode("lift", "lift it", seed, seed < 7, 30, 1.0, None) for seed in range(10))
    folder.mkdir()
    EvaluationResult("p", mark, "object", episodes, {"episodes": 10}, {}, "2026-01-01T00:00:00", 9.0).save(folder)
    return folder


def test_a_run_becomes_a_folder_for_the_hub(trained: Path, tmp_path: Path) -> None:
    results = evaluation(tmp_path / "results", fingerprint(trained / "policy"))
    folder = tmp_path / "published"
    arguments = ["export", str(trained), str(folder), "--evaluations", str(results), "--license", "apache-2.0"]
    assert run(arguments) == 0
    assert fingerprint(folder) == fingerprint(trained / "policy")
    card = ModelCard.load(folder / "README.md")
    assert card.data.to_dict()["license"] == "apache-2.0"
    assert card.data.library_name == "thinkvla"
    assert card.data.eval_results is not None
    assert card.data.eval_results[0].metric_value == 0.7
    data = json.loads((trained / "data.json").read_text())
    expected = [
        f"`{COMMAND}`",
        "Recipe: tabletop",
        "| success in closed loop | object | 7 of 10 | 39.7–89.2 % |",
        "Base model: tiny_random",
        "micro-batch of one process: 1 demonstrations and 1 questions",
        "torch: ",
        *(f"| {one['fingerprint']} |" for one in data),
    ]
    for text in expected:
        assert text in card.text, text
    assert [one["licence"] for one in data] == [None, None, "cc-by-4.0"]
    assert data[0]["frames"] == 36
    lines = [line for line in card.text.splitlines() if " questions |" in line]
    assert [line.rsplit("|", 2)[1] for line in lines] == [" unknown ", " cc-by-4.0 "]
    assert str(tmp_path) not in card.text, "the card names no folder of this machine"

    ours = thinkvla.ThinkVLA.from_pretrained(folder, device="cpu")
    seen = [observation("lift it", seed=3)]
    np.testing.assert_array_equal(
        ours.act(seen)[0].actions, load_policy(trained / "policy", "cpu").act(seen)[0].actions
    )
    assert ours.embodiment == EMBODIMENT
    with pytest.raises(ValueError, match="published exists already"):
        export(ExportOptions(trained, folder))

    checkpoint = export(ExportOptions(trained / "checkpoints" / "step-000002", tmp_path / "out"))
    assert "Optimizer steps: 2 of 2" in (checkpoint / "README.md").read_text()
    assert not (checkpoint / "training").exists()


def test_a_policy_without_its_run_says_what_is_unknown(thinking: Path, tmp_path: Path) -> None:
    card = ModelCard.load(export(ExportOptions(thinking, tmp_path / "out", name="ours")) / "README.md")
    assert card.text.lstrip().startswith("# ours")
    for text in ("Base model: unknown", "Command: unknown", "licences", "None were given", "Not recorded"):
        assert text in card.text
    assert "license" not in card.data.to_dict()


def test_what_cannot_be_exported(thinking: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results: evaluates the policy 0123 \(p\), not this one"):
        export(ExportOptions(thinking, tmp_path / "out", evaluations=(evaluation(tmp_path / "results", "0123"),)))
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"run: the run has no final policy yet"):
        export(ExportOptions(tmp_path / "run", tmp_path / "out"))
    with pytest.raises(ValueError, match=r"'.*nowhere' is no folder"):
        export(ExportOptions(tmp_path / "nowhere", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_hub_is_read_and_written_through_its_library(
    thinking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []
    folder = export(ExportOptions(thinking, tmp_path / "out"))

    def download(name: str, **options: Any) -> str:
        calls.append((name, options["revision"]))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.create_repo", lambda name, **o: calls.append((name, o["private"])))
    monkeypatch.setattr("huggingface_hub.upload_folder", lambda **o: calls.append((o["repo_id"], o["folder_path"])))
    policy = thinkvla.ThinkVLA.from_pretrained("owner/name", revision="v1", device="cpu")
    assert policy.push_to_hub("owner/other", private=True) == "hf://owner/other"
    assert calls == [("owner/name", "v1"), ("owner/other", True), ("owner/other", folder)]
    with pytest.raises(ValueError, match=r"has no README\.md; make a folder with a model card by 'thinkvla export'"):
        thinkvla.ThinkVLA.from_pretrained(thinking, device="cpu").push_to_hub("owner/other")
    with pytest.raises(ValueError, match="is not on the Hub, which alone has revisions"):
        thinkvla.ThinkVLA.from_pretrained("tabletop_r7", revision="v1")


def test_a_policy_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(name: str, **options: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ValueError, match=r"'owner/name' is neither a folder nor to be had from the Hub \(offline\)"):
        thinkvla.ThinkVLA.from_pretrained("owner/name")


def test_a_run_is_not_resumed_on_other_data(trained: Path, small_run: TrainConfig) -> None:
    """The general set's licence is gone by now: it is not the set that the run began with."""
    with pytest.raises(ValueError, match=r"not what the run was started with: general questions .*general_qa\.licence"):
        train(two_steps(small_run), resume=True)
