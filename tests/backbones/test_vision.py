"""The batched vision encoder against transformers' own, image by image."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from thinkvla.backbones.tiny import tiny_config, tiny_tokenizer
from thinkvla.backbones.vision import batch_images


def encoder(attention: str) -> Any:
    config = tiny_config(tiny_tokenizer())
    config._attn_implementation = attention
    torch.manual_seed(0)
    return Qwen3VLForConditionalGeneration._from_config(config).model.visual


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("grids", [[[1, 8, 8]] * 3, [[1, 8, 8], [1, 4, 6], [1, 2, 8]]], ids=["one size", "mixed sizes"])
def test_batched_images_give_the_same_features_and_gradients(attention: str, grids: list[list[int]]) -> None:
    original = encoder(attention)
    batched = copy.deepcopy(original)
    batch_images(batched)
    assert original.state_dict().keys() == batched.state_dict().keys()
    grid = torch.tensor(grids)
    pixels = torch.randn(int(grid.prod(dim=1).sum()), 3 * 2 * 12 * 12)
    outputs = [model(pixels, grid) for model in (original, batched)]
    for a, b in zip(*[(o.pooler_output, *o.deepstack_features) for o in outputs], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for output in outputs:
        output.pooler_output.square().mean().backward()
    pairs = zip(original.named_parameters(), batched.named_parameters(), strict=True)
    for (name, a), (_, b) in pairs:
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5, msg=name)
