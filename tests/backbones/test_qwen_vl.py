"""Qwen3-VL behind the protocol: raster order, generation, kinds of attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import build, observation, robot_batch

from thinkvla.backbones.build import Attention
from thinkvla.method.batch import pad_prompts
from thinkvla.preprocessor import prepare_images


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


@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
def test_every_attention_with_a_block_mask_equals_sdpa(attention: Attention) -> None:
    """Packed student and teacher, and generation; flex attention without compiling it, which changes no numbers."""
    outputs = []
    choices: tuple[Attention, ...] = ("sdpa", attention)
    for choice in choices:
        policy, preprocessor = build(attention=choice)
        backbone: Any = policy.backbone
        assert backbone.attention == choice
        tokens = robot_batch(preprocessor).tokens
        asked = pad_prompts(
            [preprocessor.prompts.ask(text, [], spatial=True) for text in ("Say it.", "How?")], None, None
        )
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            outputs.append((policy.think(tokens), backbone.generate(asked, limit=3, end_id=-1)))
    (ours, answers), (theirs, expected) = outputs
    torch.testing.assert_close(ours.actions_BCA, theirs.actions_BCA, atol=2e-5, rtol=1e-4)
    assert ours.teacher_BRD is not None
    torch.testing.assert_close(ours.teacher_BRD, theirs.teacher_BRD, atol=2e-5, rtol=1e-4)
    assert answers == expected


def test_attention_that_is_not_there_is_one_error() -> None:
    with pytest.raises(ValueError, match="flash_attention_2, which needs a CUDA GPU and the package flash-attn"):
        build(attention="flash_attention_2")
    policy, preprocessor = build(attention="flex_attention")
    with pytest.raises(ValueError, match="flex_attention, which has no gradients on a CPU; choose sdpa"):
        policy.think(robot_batch(preprocessor).tokens)


def test_attention_without_a_block_mask_takes_two_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """As flash attention does: each prompt alone, causal, padding on the right and no mask at all."""
    policy, preprocessor = build()
    backbone: Any = policy.backbone
    tokens = robot_batch(preprocessor).tokens
    with torch.no_grad():
        packed = policy.think(tokens)
        backbone.blockwise = False
        monkeypatch.setattr(type(backbone), "attention_mask", lambda self, mask: None)
        plain = policy.think(tokens)
    torch.testing.assert_close(plain.actions_BCA, packed.actions_BCA, atol=1e-5, rtol=1e-4)
    assert plain.teacher_BRD is not None
    torch.testing.assert_close(plain.teacher_BRD, packed.teacher_BRD, atol=1e-5, rtol=1e-4)
