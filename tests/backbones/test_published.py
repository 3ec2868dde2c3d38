"""Models in the published layout through the real path, for both families: weights, new tokens, faults, checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import SPARE, write_published
from tiny_models import SMALL, build, observation, question_batch, robot_batch

from thinkvla.backbones.build import FAMILIES, BackboneConfig, build_backbone
from thinkvla.backbones.tiny import tiny_tokenizer
from thinkvla.checkpoint import save_checkpoint
from thinkvla.deploy import DeployedPolicy, load_policy
from thinkvla.method.objective import robot_sums
from thinkvla.method.prompts import new_tokens

OLD, NEW = len(tiny_tokenizer()), 9


@pytest.fixture(scope="module", params=[*FAMILIES])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / family
    write_published(folder, family)
    return folder


@pytest.mark.parametrize("tied", [True, False])
def test_weights_and_new_tokens(family: str, tied: bool, tmp_path: Path) -> None:
    """Tied as the small models are published, untied as the large ones."""
    published = write_published(tmp_path, family, tied=tied)
    parts = build_backbone(BackboneConfig(str(tmp_path)), new_tokens(SMALL))
    model: Any = parts.backbone.model
    loaded = model.state_dict()
    changed = {"model.language_model.embed_tokens.weight", "lm_head.weight"}
    for name, tensor in published.items():
        assert loaded[name].dtype == torch.float32
        if name not in changed:
            assert torch.equal(loaded[name], tensor.float()), name
    for name in changed if not tied else changed & set(published):
        table, before = loaded[name], published[name].float()
        assert len(table) == len(before) == OLD + SPARE, "spare rows are enough"
        torch.testing.assert_close(table[OLD : OLD + NEW], before[:OLD].mean(dim=0).expand(NEW, -1))
        kept = [*range(OLD), *range(OLD + NEW, OLD + SPARE)]
        assert torch.equal(table[kept], before[kept])
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    assert parts.tokenizer("<|reasoning_0|><|action_7|>", add_special_tokens=False)["input_ids"] == [OLD, OLD + 8]


@pytest.mark.parametrize("tied", [True, False])
def test_tables_grow_when_spare_rows_do_not_suffice(family: str, tied: bool, tmp_path: Path) -> None:
    write_published(tmp_path, family, tied=tied)
    tokens = [f"<|new_{i}|>" for i in range(SPARE + 5)]
    model: Any = build_backbone(BackboneConfig(str(tmp_path)), tokens).backbone.model
    for table in (model.get_input_embeddings().weight, model.lm_head.weight):
        assert len(table) == OLD + SPARE + 5
        torch.testing.assert_close(table[OLD:], table[:OLD].mean(dim=0).expand(SPARE + 5, -1))
    assert model.config.text_config.vocab_size == OLD + SPARE + 5


def test_hidden_states_are_those_of_a_plain_forward(folder: Path) -> None:
    """One deployed prompt through our mask, positions and batched vision against transformers' own forward."""
    from transformers import AutoModelForImageTextToText

    policy, preprocessor = build(name=str(folder))
    ours: Any = policy.backbone
    plain = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    plain.load_state_dict(ours.model.state_dict())
    tokens = preprocessor.act_tokens([observation("lift it")])
    theirs = plain.model(
        input_ids=tokens.ids_BL,
        attention_mask=torch.ones_like(tokens.ids_BL),
        pixel_values=tokens.pixels,
        image_grid_thw=tokens.grids_N3,
        mm_token_type_ids=(tokens.ids_BL == plain.config.image_token_id).int(),
    ).last_hidden_state
    torch.testing.assert_close(policy._encode(tokens)[0], theirs, atol=1e-5, rtol=1e-4)


def test_packed_equals_two_forwards(folder: Path) -> None:
    policy, preprocessor = build(name=str(folder))
    batch = robot_batch(preprocessor)
    gradients = []
    for think in (policy.think, policy.think_twice):
        policy.zero_grad()
        sum(robot_sums(think(batch.tokens), batch).values(), torch.zeros(())).backward()
        gradients.append({name: p.grad for name, p in policy.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("block", [0, 2])
def test_patch_features_are_in_raster_order(folder: Path, block: int) -> None:
    """With blocks that add nothing, a patch's feature is its own embedding: pixels times the published kernel."""
    policy, preprocessor = build(name=str(folder))
    visual: Any = policy.backbone.model.model.visual  # type: ignore[attr-defined]
    with torch.no_grad():
        if hasattr(visual, "pos_embed"):
            visual.pos_embed.weight.zero_()
        for each in visual.blocks:
            last = each.mlp.linear_fc2 if hasattr(each.mlp, "linear_fc2") else each.mlp.down_proj
            for layer in (each.attn.proj, last):
                layer.weight.zero_()
                layer.bias.zero_()
        seen = observation("lift it")
        tokens = preprocessor.act_tokens([seen])
        backbone = policy.backbone
        positions = backbone.positions(tokens.ids_BL, tokens.segments_BL >= 0, tokens.grids_N3)
        length = tokens.ids_BL.shape[1]
        mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
        features = backbone.encode(tokens, positions, mask, block)[1]
    assert features is not None
    kernel = visual.patch_embed.proj.weight.detach().double().numpy()
    bias = visual.patch_embed.proj.bias
    for view, camera in enumerate(("front", "wrist")):
        pixels = seen.images[camera] / 127.5 - 1
        patches = pixels.reshape(8, 12, 8, 12, 3)  # row, y, column, x, RGB; both moments of the kernel see it
        expected = np.einsum("rycxk,ektyx->rce", patches, kernel)
        if bias is not None:
            expected = expected + bias.detach().double().numpy()
        np.testing.assert_allclose(features[view].numpy(), expected, atol=2e-5)


def test_round_trip_as_a_policy(folder: Path, family: str, tmp_path: Path) -> None:
    policy, preprocessor = build(name=str(folder))
    save_checkpoint(tmp_path / "policy", policy, preprocessor)
    loaded = load_policy(tmp_path / "policy", "cpu")
    assert type(loaded.policy.backbone) is FAMILIES[family]
    observations = [observation("put the red cube on the plate", 1), observation("lift it", 2)]
    before = DeployedPolicy(policy, preprocessor).act(observations)
    for ours, theirs in zip(loaded.act(observations), before, strict=True):
        assert np.array_equal(ours.actions, theirs.actions)
    questions = question_batch(preprocessor)
    assert torch.equal(question_batch(loaded.preprocessor).tokens.ids_BL, questions.tokens.ids_BL)
    torch.testing.assert_close(loaded.policy.answer(questions), policy.answer(questions), rtol=0, atol=0)
    config = json.loads((tmp_path / "policy" / "config.json").read_text())
    assert config["backbone"]["family"] == family
    assert str(folder) not in json.dumps(config), "no path of the machine that trained it"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    write_published(folder, "qwen3_vl", tied=False)
    return folder


def _shard(folder: Path, name: str) -> Path:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return folder / str(index["weight_map"][name])


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _drop_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = _shard(folder, "lm_head.weight")
    tensors = load_file(path)
    del tensors["lm_head.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    del index["weight_map"]["lm_head.weight"]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _cut_shard(folder: Path) -> None:
    path = _shard(folder, "lm_head.weight")
    path.write_bytes(path.read_bytes()[:1000])


def _set(*keys: str, value: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        inner = config
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def _no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop("config.json"), r"\(the folder\): cannot read config.json: "),
        (lambda f: (f / "config.json").write_text("{"), r"cannot read config.json: .*valid JSON"),
        (_set("model_type", value="qwen2"), r"is a qwen2; expected one of qwen3_vl, qwen2_5_vl"),
        (_set("model_type", value="pi0_from_elsewhere"), r"cannot read config.json: .*pi0_from_elsewhere"),
        (_drop("preprocessor_config.json"), r"cannot read preprocessor_config.json: "),
        (_no_tokenizer, r"cannot read the tokenizer"),
        (_set("image_token_id", value=5), r"the tokenizer's id of '<\|image_pad\|>' is \d+, but config.json says 5"),
        (_set("text_config", "vocab_size", value=500), r"has \d+ tokens, but the model's table only 500 rows"),
        (_drop("model.safetensors.index.json"), r"cannot read the weights"),
        (_drop("model-00001-of-00002.safetensors"), r"cannot read the weights"),
        (_cut_shard, r"cannot read the weights"),
        (_drop_tensor, r"the weights have no 'lm_head.weight', which config.json asks for"),
        (_set("text_config", "intermediate_size", value=100), r"cannot read the weights"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_is_one_clear_error(whole: Path, tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    broken = tmp_path / "model"
    shutil.copytree(whole, broken)
    damage(broken)
    with pytest.raises(ValueError, match=message) as caught:
        build_backbone(BackboneConfig(str(broken)), [])
    assert str(broken) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_names_that_lead_nowhere(whole: Path) -> None:
    for name in ("/nowhere/model", "./nowhere", "nowhere"):
        with pytest.raises(ValueError, match=rf"there is no folder '{name}', and the name of a published model is"):
            build_backbone(BackboneConfig(name), [])
    with pytest.raises(ValueError, match=r"no folder of that name, and from the hub at revision 'v1'\): cannot read"):
        build_backbone(BackboneConfig("nobody/nothing", revision="v1"), [])
    with pytest.raises(ValueError, match=r"backbone.revision is 'v1', but .* is a folder"):
        build_backbone(BackboneConfig(str(whole), revision="v1"), [])
