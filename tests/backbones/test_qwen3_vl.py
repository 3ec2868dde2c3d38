"""Qwen3-VL behind the protocol: a published folder layout, new tokens, raster order, generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import SMALL, build, observation, robot_batch
from transformers import Qwen3VLForConditionalGeneration

from thinkvla.backbones.build import Attention, BackboneConfig, build_backbone
from thinkvla.backbones.tiny import tiny_config, tiny_image_processor, tiny_tokenizer
from thinkvla.method.batch import pad_prompts
from thinkvla.method.prompts import new_tokens
from thinkvla.preprocessor import prepare_images


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model saved as a published Qwen3-VL is laid out."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(3)
    tokenizer = tiny_tokenizer()
    Qwen3VLForConditionalGeneration._from_config(tiny_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tiny_image_processor().save_pretrained(folder)
    return folder


def test_published_folder(published: Path) -> None:
    parts = build_backbone(BackboneConfig(str(published)), new_tokens(SMALL))
    original = Qwen3VLForConditionalGeneration.from_pretrained(published)
    old = len(tiny_tokenizer())
    assert len(parts.tokenizer) == old + 9
    table, before = parts.backbone.model.get_input_embeddings().weight, original.get_input_embeddings().weight
    torch.testing.assert_close(table[:old], before[:old], atol=0, rtol=0)
    torch.testing.assert_close(table[old:], before.mean(dim=0).expand(9, -1))
    assert parts.backbone.model.lm_head.weight is table, "the output head stays tied"
    assert parts.tokenizer("<|reasoning_0|><|action_7|>", add_special_tokens=False)["input_ids"] == [old, old + 8]


def test_other_model_is_refused(published: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(ValueError, match="is a qwen2; expected qwen3_vl, or 'tiny' or 'tiny_random'"):
        build_backbone(BackboneConfig(str(tmp_path)), [])


def test_hidden_states_are_those_of_a_plain_forward() -> None:
    """One deployed prompt through our mask and positions against transformers' own forward."""
    policy, preprocessor = build()
    model: Any = policy.backbone
    tokens = preprocessor.act_tokens([observation("lift it")])
    ours, _ = policy._encode(tokens)
    theirs = model.model.model(
        input_ids=tokens.ids_BL,
        attention_mask=torch.ones_like(tokens.ids_BL),
        pixel_values=tokens.pixels,
        image_grid_thw=tokens.grids_N3,
        mm_token_type_ids=(tokens.ids_BL == model.model.config.image_token_id).int(),
    ).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_patch_features_are_in_raster_order() -> None:
    """A change in one corner of one image moves that patch's feature most."""
    policy, preprocessor = build()
    seen = observation("lift it")
    changed = {camera: image.copy() for camera, image in seen.images.items()}
    changed["wrist"][84:, :12] = 255 - changed["wrist"][84:, :12]  # bottom left patch: row 7, column 0
    with torch.no_grad():
        before = policy._encode(preprocessor.act_tokens([seen]))[1]
        after = policy._encode(preprocessor.act_tokens([type(seen)(changed, seen.instruction)]))[1]
    assert before is not None
    assert after is not None
    moved = (after - before).norm(dim=-1)
    assert moved.shape == (2, 8, 8)
    assert moved[0].max() == 0
    assert divmod(int(moved[1].argmax()), 8) == (7, 0)


def test_views_of_different_sizes_are_refused() -> None:
    policy, _ = build()
    model: Any = policy.backbone
    grids = torch.tensor([[1, 8, 8], [1, 4, 8]])
    with pytest.raises(ValueError, match=r"views of one size, got patch grids \[\(1, 4, 8\), \(1, 8, 8\)\]"):
        model._raster(torch.zeros(96, 4), grids)


def test_generation_continues_greedily() -> None:
    """Generated tokens are the argmax of our own teacher-forced scores."""
    policy, preprocessor = build()
    model: Any = policy.backbone
    seen = observation("lift it")
    pixels, grids, sizes = prepare_images(preprocessor.image_processor, [seen.images["front"]])
    prompt = preprocessor.prompts.ask("Which is closer?", sizes, spatial=True)
    tokens = pad_prompts([prompt], pixels, grids)
    answer = model.generate(tokens, limit=4, end_id=preprocessor.tokenizer.convert_tokens_to_ids("<|im_end|>"))[0]
    ids = list(prompt.ids)
    for token in answer:
        step = pad_prompts([type(prompt)(tuple(ids), (0,) * len(ids))], pixels, grids)
        hidden, _ = policy._encode(step)
        assert int(policy.backbone.logits(hidden[0, -1]).argmax()) == token
        ids.append(token)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_generation_in_a_batch_equals_generation_alone(attention: Attention) -> None:
    """Prompts of different lengths, one without a picture, whose answers end at different times."""
    policy, preprocessor = build(attention=attention)
    model: Any = policy.backbone
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for _ in range(5)]
    texts = ["Which is closer?", "How?", "What colour is the small cube to the left of the ball?", "Say it.", "Where?"]
    pixels, grids, sizes = prepare_images(preprocessor.image_processor, images)
    prompts = [preprocessor.prompts.ask(t, [n], spatial=len(t) % 2 > 0) for t, n in zip(texts, sizes, strict=True)]
    prompts.insert(2, preprocessor.prompts.ask("Without a picture", [], spatial=True))
    owned = [[0], [1], [], [2], [3], [4]]
    batch = pad_prompts(prompts, pixels, grids)
    free = model.generate(batch, limit=12, end_id=-1)
    assert [len(answer) for answer in free] == [12] * 6
    end = free[1][4]  # a token that the second answer comes to, so that answers end at different times
    together = model.generate(batch, limit=12, end_id=end)
    assert together == [answer[: answer.index(end)] if end in answer else answer for answer in free]
    assert len(set(map(len, together))) > 1
    for prompt, own, answer in zip(prompts, owned, together, strict=True):
        pixels, grids, _ = prepare_images(preprocessor.image_processor, [images[i] for i in own])
        alone = pad_prompts([prompt], pixels, grids)
        assert model.generate(alone, limit=12, end_id=end) == [answer]


def test_eager_equals_sdpa() -> None:
    outputs = []
    choices: tuple[Attention, ...] = ("eager", "sdpa")
    for attention in choices:
        policy, preprocessor = build(attention=attention)
        outputs.append(policy.think(robot_batch(preprocessor).tokens).actions_BCA)
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-4)
