"""What of a backbone is trained: by pattern, by LoRA, always the new tokens; and gradient checkpointing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from published import write_published
from tiny_models import build, observation, question_batch, robot_batch
from torch import Tensor

from thinkvla.backbones.build import BackboneConfig
from thinkvla.backbones.lora import LoraConfig
from thinkvla.backbones.tuning import prepare_tuning
from thinkvla.checkpoint import load_checkpoint, save_checkpoint
from thinkvla.method.objective import question_sums, robot_sums
from thinkvla.method.policy import ThinkVLA
from thinkvla.preprocessor import Preprocessor

LORA = LoraConfig(rank=4, alpha=8.0)


@pytest.fixture(
    scope="module",
    params=[("qwen3_vl", True), ("qwen2_5_vl", False)],
    ids=["qwen3_vl, tied head", "qwen2_5_vl, own head"],
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, tied = request.param
    folder: Path
    folder = tmp_path_factory.mktemp("published") / family
    write_published(folder, family, tied=tied)
    return folder


def prepared(config: BackboneConfig) -> tuple[ThinkVLA, Preprocessor]:
    policy, preprocessor = build(name=config.name)
    prompts = preprocessor.prompts
    prepare_tuning(policy.backbone, config, (*prompts.anchor, *prompts.queries))  # type: ignore[arg-type]
    return policy.train(), preprocessor


def trained(policy: ThinkVLA) -> set[str]:
    """Names of the backbone's parameters that are trained, without transformers' outermost ``model``."""
    backbone: Any = policy.backbone
    return {name.removeprefix("model.") for name, p in backbone.model.named_parameters() if p.requires_grad}


def objective(policy: ThinkVLA, preprocessor: Preprocessor) -> Tensor:
    robot, questions = robot_batch(preprocessor), question_batch(preprocessor)
    output, scores = policy(robot, questions)
    return sum((robot_sums(output, robot) | question_sums(scores, questions)).values(), torch.zeros(()))


def steps(policy: ThinkVLA, preprocessor: Preprocessor, count: int = 3) -> None:
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.1)
    for _ in range(count):
        optimizer.zero_grad()
        objective(policy, preprocessor).backward()
        optimizer.step()


def test_everything_is_trained_unless_told_otherwise(folder: Path) -> None:
    policy, _ = build(name=str(folder))
    names = set(dict(policy.named_parameters()))
    policy, _ = prepared(BackboneConfig(str(folder)))
    assert {name for name, p in policy.named_parameters() if p.requires_grad} == names


def test_patterns_choose_and_new_tokens_are_always_trained(folder: Path) -> None:
    config = BackboneConfig(str(folder), tune=("visual.merger.*", "language_model.layers.1.*"))
    policy, preprocessor = prepared(config)
    tied = policy.backbone.model.config.tie_word_embeddings  # type: ignore[attr-defined]
    names = trained(policy)
    rows = {name for name in names if name.endswith(".rows")}
    assert rows == {"language_model.embed_tokens.rows"} | (set() if tied else {"lm_head.rows"})
    assert {name.split(".")[1] for name in names - rows} == {"merger", "layers"}
    assert all(name.startswith(("visual.merger.", "language_model.layers.1.")) for name in names - rows)
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    steps(policy, preprocessor)
    for name, parameter in policy.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_trained_rows_are_those_of_a_whole_trained_table(folder: Path) -> None:
    """Same objective, and the same gradient of the new rows, as if the whole table were trained."""
    frozen, preprocessor = prepared(BackboneConfig(str(folder), tune=()))
    whole, _ = prepared(BackboneConfig(str(folder)))
    losses = [objective(policy, preprocessor) for policy in (frozen, whole)]
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    first = min(preprocessor.prompts.anchor)
    ours: Any = frozen.backbone
    theirs: Any = whole.backbone
    tables = (theirs.model.model.language_model.embed_tokens, theirs.model.lm_head)
    for rows, table in zip((ours.model.model.language_model.embed_tokens, ours.model.lm_head), tables, strict=True):
        expected = table.weight.grad[first : first + len(rows.rows)]
        torch.testing.assert_close(rows.rows.grad, expected, rtol=1e-3, atol=1e-5)


def test_lora_is_saved_as_an_ordinary_policy_that_acts_the_same(folder: Path, tmp_path: Path) -> None:
    policy, preprocessor = prepared(BackboneConfig(str(folder), lora=LORA))
    names = trained(policy)
    assert all(".lora_" in name or name.endswith(".rows") for name in names)
    assert sum(".lora_A." in name for name in names) == 2 * 7, "seven matrices in each of two layers"
    steps(policy, preprocessor)
    save_checkpoint(tmp_path / "policy", policy, preprocessor)
    loaded, _ = load_checkpoint(tmp_path / "policy")
    untrained = build(name=str(folder))[0].eval()
    assert set(loaded.state_dict()) == set(untrained.state_dict())
    tokens, questions = preprocessor.act_tokens([observation("lift it")]), question_batch(preprocessor)
    policy.eval()
    torch.testing.assert_close(loaded.act(tokens), policy.act(tokens), rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(loaded.answer(questions), policy.answer(questions), rtol=1e-4, atol=1e-4)
    assert (untrained.answer(questions) - policy.answer(questions)).abs().max() > 0.05, "training changed something"


def test_patterns_beside_lora(folder: Path) -> None:
    policy, _ = prepared(BackboneConfig(str(folder), tune=("visual.merger.*",), lora=LORA))
    own = {name for name in trained(policy) if ".lora_" not in name and not name.endswith(".rows")}
    assert {name.split(".")[1] for name in own} == {"merger"}
    with pytest.raises(ValueError, match=r"backbone.tune trains 'language_model.layers.0.*_proj.weight', which"):
        prepared(BackboneConfig(str(folder), tune=("language_model.*",), lora=LORA))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BackboneConfig(tune=("visual.*", "decoder.*")), r"backbone.tune: 'decoder.\*' matches no parameter"),
        (BackboneConfig(lora=replace(LORA, target=("*.proj_q",))), r"lora.target: '\*.proj_q' matches no matrix"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named(config: BackboneConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(replace(config, name="tiny_random"))


def test_lora_values_are_checked() -> None:
    with pytest.raises(ValueError, match=r"backbone.lora.rank is -1; expected 0 \(no LoRA\) or more"):
        LoraConfig(rank=-1)
    with pytest.raises(ValueError, match=r"backbone.lora.dropout is 1; expected 0 <= p < 1"):
        LoraConfig(dropout=1)


@pytest.mark.parametrize("lora", [LoraConfig(), LORA], ids=["whole", "lora"])
def test_checkpointed_gradients_are_the_same(folder: Path, lora: LoraConfig) -> None:
    """Also those of the vision block whose features are aligned: it is read once, with its gradient."""
    gradients = []
    captured = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        policy, preprocessor = prepared(BackboneConfig(str(folder), lora=lora, gradient_checkpointing=checkpointing))
        backbone: Any = policy.backbone
        calls: list[tuple[int, ...]] = []

        def raster(patches: Tensor, grids: Tensor, calls: Any = calls, read: Any = backbone._raster) -> Tensor:
            calls.append(tuple(patches.shape))
            return read(patches, grids)  # type: ignore[no-any-return]

        backbone._raster = raster
        recomputed: list[int] = []
        layer = backbone.model.model.language_model.layers[0]
        layer.mlp.register_forward_pre_hook(lambda *a, seen=recomputed: seen.append(1))
        objective(policy, preprocessor).backward()
        gradients.append({name: p.grad for name, p in policy.named_parameters() if p.grad is not None})
        captured.append(calls)
        assert len(recomputed) == (4 if checkpointing else 2), "two forwards, each computed again on the way back"
    assert captured[0] == captured[1]
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
