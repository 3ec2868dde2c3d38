"""A training run: accumulation, resume, divergence, and what it leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import pytest
import torch
from accelerate import Accelerator
from published import write_published
from safetensors.torch import load_file, save_file

from thinkvla.backbones.build import BackboneConfig
from thinkvla.backbones.lora import LoraConfig
from thinkvla.checkpoint import load_checkpoint
from thinkvla.method.objective import robot_sums
from thinkvla.method.policy import ThinkVLA
from thinkvla.train import loop
from thinkvla.train.config import TeacherFeatures, TrainConfig
from thinkvla.train.loop import TrainingDiverged, co_training_step, train
from thinkvla.train.mixture import MicroBatch
from thinkvla.train.setup import build_policy, co_training_data, open_episodes


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.fixture(autouse=True)
def log_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thinkvla.train.display._SECONDS", 0.0)


def test_run_leaves_everything(small_run: TrainConfig) -> None:
    final = train(small_run)
    assert final == small_run.output / "policy"
    for name in ("config.json", "versions.json", "metrics.jsonl", "tensorboard"):
        assert (small_run.output / name).exists(), name
    for name in ("config.json", "model.safetensors", "thinkvla_preprocessor.json", "tokenizer.json"):
        assert (final / name).is_file(), name
    checkpoints = sorted(path.name for path in (small_run.output / "checkpoints").iterdir())
    assert checkpoints == ["step-000004", "step-000006"], "the newest two are kept"
    line = json.loads((small_run.output / "metrics.jsonl").read_text().splitlines()[-1])
    terms = {"loss/action", "loss/geometry", "loss/reasoning", "loss/language", "anchor_similarity"}
    assert -1 <= line["anchor_similarity"] <= 1
    assert terms | {"learning_rate", "samples_per_second", "data_wait"} <= line.keys()
    policy, _ = load_checkpoint(final)
    assert policy.config == small_run.method


def test_loss_is_the_weighted_sum(small_run: TrainConfig) -> None:
    train(replace(small_run, steps=3))
    for text in (small_run.output / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        expected = line["loss/action"] + 0.5 * line["loss/geometry"] + 0.5 * line["loss/reasoning"]
        assert line["loss"] == pytest.approx(expected + 0.1 * line["loss/language"], rel=1e-5)


def test_a_foundation_model_teaches_geometry_from_images(small_run: TrainConfig) -> None:
    weights = Path(__file__).parents[1] / "teachers" / "golden_vggt.safetensors"  # a VGGT of 22 816 parameters
    train(
        replace(
            small_run,
            steps=3,
            data=replace(small_run.data, teacher="vggt", teacher_weights=weights),
            method=replace(small_run.method, geometry_dim=32),
        )
    )
    last = json.loads((small_run.output / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["loss/geometry"] < 2
    assert json.loads((small_run.output / "config.json").read_text())["data"]["teacher_weights"] == str(weights)


@pytest.mark.parametrize("teacher", ["vggt", "simulator"])
def test_a_teacher_in_the_step_says_what_a_cache_holds(
    small_run: TrainConfig, teacher: Literal["vggt", "simulator"]
) -> None:
    weights = Path(__file__).parents[1] / "teachers" / "golden_vggt.safetensors" if teacher == "vggt" else None
    found = []
    for features in get_args(TeacherFeatures):
        data = replace(
            small_run.data, teacher=teacher, teacher_weights=weights, teacher_features=features, held_out=0.4
        )
        method = replace(small_run.method, geometry_dim=32 if teacher == "vggt" else 48)
        config = replace(small_run, output=small_run.output / features, steps=3, data=data, method=method, save_every=3)
        train(config)
        rows = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
        found.append([row["loss"] for row in rows if "loss" in row])
        assert len(rows) == 4, "the last is the held-out error's"
    cached, online = found
    assert online == pytest.approx(cached, rel=1e-3)
    assert online != cached  # a byte a number is not quite the feature


def test_resume_gives_the_same_losses(small_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after step 5, taken up at the checkpoint of step 4, with branch dropout on."""
    dropping = replace(small_run, method=replace(small_run.method, branch_dropout=0.5))
    undisturbed = replace(dropping, output=small_run.output.with_name("undisturbed"))
    train(undisturbed)

    def stop_at_six(model: ThinkVLA, *arguments: object) -> dict[str, float]:
        if arguments[-1] == 5:
            raise KeyboardInterrupt
        return co_training_step(model, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "co_training_step", stop_at_six)
        with pytest.raises(KeyboardInterrupt):
            train(dropping)
    assert len(losses(dropping.output)) == 5
    train(dropping, resume=True)
    assert losses(dropping.output) == losses(undisturbed.output)
    ours, _ = load_checkpoint(dropping.output / "policy")
    theirs, _ = load_checkpoint(undisturbed.output / "policy")
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def gradient(config: TrainConfig, micro_batches: list[MicroBatch]) -> dict[str, torch.Tensor]:
    policy, _ = build_policy(config, open_episodes(config.data))
    co_training_step(policy, micro_batches, Accelerator(cpu=True), config.method, step=0)
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def test_accumulation_equals_the_large_batch(small_run: TrainConfig) -> None:
    """Four micro-batches of two against one of eight: the same samples, the same gradient."""
    episodes = open_episodes(small_run.data)
    _, preprocessor = build_policy(small_run, episodes)
    small = co_training_data(small_run, episodes, preprocessor, (0, 1))
    large = co_training_data(replace(small_run, batch_size=8, question_batch_size=8), episodes, preprocessor, (0, 1))
    accumulated = gradient(small_run, [small[number] for number in range(4)])
    at_once = gradient(small_run, [large[0]])
    assert accumulated.keys() == at_once.keys()
    for name, value in at_once.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-4, atol=2e-6, msg=name)


def test_divergence_names_step_and_term(small_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(*arguments: object) -> dict[str, torch.Tensor]:
        sums = robot_sums(*arguments)  # type: ignore[arg-type]
        return sums | {"geometry": sums["geometry"] * float("nan")}

    monkeypatch.setattr(loop, "robot_sums", poisoned)
    with pytest.raises(TrainingDiverged, match=r"step 1: the geometry loss is nan"):
        train(small_run)


def test_existing_run_is_not_overwritten(small_run: TrainConfig) -> None:
    small_run.output.mkdir()
    (small_run.output / "precious").write_text("results")
    with pytest.raises(ValueError, match=r"exists and is not overwritten.*--resume"):
        train(small_run)
    assert (small_run.output / "precious").read_text() == "results"


def test_resume_needs_the_same_configuration(small_run: TrainConfig) -> None:
    with pytest.raises(ValueError, match="holds no run to resume"):
        train(small_run, resume=True)
    train(small_run)
    changed = replace(small_run, method=replace(small_run.method, anchor_tokens=8))
    with pytest.raises(ValueError, match=r"method.anchor_tokens \(1 then, 8 now\)"):
        train(changed, resume=True)


def test_wrong_geometry_size_is_named(small_run: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"method.geometry_dim is 7.*features of size 48"):
        train(replace(small_run, method=replace(small_run.method, geometry_dim=7)))


@pytest.mark.parametrize(("field", "qa_data"), [("spatial_qa", "3d"), ("general_qa", "2d")])
def test_missing_questions_are_named(small_run: TrainConfig, field: str, qa_data: str) -> None:
    with pytest.raises(ValueError, match=f"needs data.{field}"):
        replace(
            small_run,
            method=replace(small_run.method, qa_data=qa_data),  # type: ignore[arg-type]
            data=replace(small_run.data, **{field: None}),  # type: ignore[arg-type]
        )


def test_held_out_episodes_are_left_out_and_measured(small_run: TrainConfig) -> None:
    """A third of three episodes: the last one."""
    config = replace(small_run, data=replace(small_run.data, held_out=0.34))
    episodes = open_episodes(config.data)
    policy, preprocessor = build_policy(config, episodes)
    data = co_training_data(config, episodes, preprocessor, (0, 1))
    assert (data.robot.frames, data.robot.held_out_frames) == (21, 15)
    error = loop.held_out_error(policy, data, None, Accelerator(cpu=True))
    assert policy.training
    policy.eval()
    total = count = 0.0
    for number in range(loop.HELD_OUT_BATCHES):
        batch = data.held_out(number)
        difference = (policy.act(batch.tokens) - batch.actions_BCA).abs()[batch.valid_BC]
        total, count = total + difference.sum().item(), count + difference.numel()
    assert error == pytest.approx(total / count, rel=1e-5)
    train(config)
    logged = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "held_out/action" in line] == [2, 4, 6]
    with pytest.raises(ValueError, match=r"data\.held_out is 1; expected 0 <= share < 1"):
        replace(small_run.data, held_out=1)


def test_a_run_may_begin_with_a_policy_of_the_same_method(small_run: TrainConfig, tmp_path: Path) -> None:
    first = train(replace(small_run, steps=3))
    further = replace(small_run, output=tmp_path / "further", start=first)
    episodes = open_episodes(further.data)
    policy, _ = build_policy(further, episodes)
    for a, b in zip(policy.parameters(), load_checkpoint(first)[0].parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"another method: anchor_tokens \(\d there, 8 here\)"):
        build_policy(replace(further, method=replace(further.method, anchor_tokens=8)), episodes)


def test_lora_resumes_exactly_and_ends_as_an_ordinary_policy(
    small_run: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stopped after step 5, taken up at the adapters of step 4; another base model is refused."""
    base = tmp_path / "base"
    write_published(base, "qwen3_vl")
    lora = LoraConfig(rank=2, dropout=0.2)
    config = replace(small_run, backbone=BackboneConfig(str(base), lora=lora, gradient_checkpointing=True))
    undisturbed = replace(config, output=small_run.output.with_name("undisturbed"))
    train(undisturbed)

    def stop_at_six(model: ThinkVLA, *arguments: object) -> dict[str, float]:
        if arguments[-1] == 5:
            raise KeyboardInterrupt
        return co_training_step(model, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "co_training_step", stop_at_six)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    published = (base / "model-00001-of-00002.safetensors").read_bytes()
    tensors = load_file(base / "model-00001-of-00002.safetensors")
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    save_file(tensors | {name: tensors[name] + 0.01}, base / "model-00001-of-00002.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"'backbone.*_proj.weight' is not what .* holds, so the backbone is not the one"
    ):
        train(config, resume=True)
    (base / "model-00001-of-00002.safetensors").write_bytes(published)
    train(config, resume=True)
    assert losses(config.output) == losses(undisturbed.output)
    ours, _ = load_checkpoint(config.output / "policy")
    theirs, _ = load_checkpoint(undisturbed.output / "policy")
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not any("lora" in name for name in ours.state_dict())
