"""Attention weights of a Qwen-VL's language model, which its fast implementations never write down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from thinkvla.backbones.qwen_vl import QwenVL


@contextmanager
def attention_weights(backbone: QwenVL) -> Iterator[list[Tensor]]:
    """Give a list that holds, after a forward pass inside the context, every layer's weights, first layer first.

    Inside, the language model's attention is computed as the explicit softmax ("eager"); afterwards it is as it was.

    Yields:
        one detached (B, heads, L, L) tensor a layer: row i says how much of token i's attention goes where, and sums to
        one. A second forward pass appends its layers behind the first one's.
    """
    language: Any = backbone.model.model.language_model
    before = backbone.attention
    weights: list[Tensor] = []

    def record(module: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        weights.append(output[1].detach())

    language.set_attn_implementation("eager")
    handles = [layer.self_attn.register_forward_hook(record) for layer in language.layers]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()
        language.set_attn_implementation(before)
