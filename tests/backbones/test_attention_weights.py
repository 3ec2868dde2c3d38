"""Attention weights of the language model: they are what the model attends with, and reading them changes nothing."""

from __future__ import annotations

import pytest
import torch
from tiny_models import build, observation
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from thinkvla.backbones.attention import attention_weights
from thinkvla.backbones.build import Attention
from thinkvla.backbones.qwen_vl import QwenVL

OBSERVATIONS = [observation("lift it", 0), observation("push the small green ball to the left of the bowl", 1)]


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flex_attention"])
def test_reading_changes_nothing(attention: Attention) -> None:
    policy, preprocessor = build(attention=attention)
    policy.eval()
    backbone = policy.backbone
    assert isinstance(backbone, QwenVL)
    tokens = preprocessor.act_tokens(OBSERVATIONS)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # flex is otherwise compiled
        before, _ = policy._encode(tokens)
        with attention_weights(backbone) as weights:
            during, _ = policy._encode(tokens)
        after, _ = policy._encode(tokens)
    assert torch.equal(before, after)
    torch.testing.assert_close(during, before, atol=1e-5, rtol=1e-4)
    assert backbone.model.config.text_config._attn_implementation == attention
    assert len(weights) == 4, "nothing is recorded once the context has ended"
    length = tokens.ids_BL.shape[1]
    for layer in weights:
        assert layer.shape == (2, 4, length, length)
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(2, 4, length))
        assert layer.triu(diagonal=1).max() == 0, "no token attends to a later one"


def test_weights_are_those_of_a_hand_computation() -> None:
    """The last layer's weights from its own projections: softmax(q kᵀ / √d) over the tokens before."""
    policy, preprocessor = build()
    policy.eval()
    backbone = policy.backbone
    assert isinstance(backbone, QwenVL)
    layer = backbone.model.model.language_model.layers[-1].self_attn
    seen: dict[str, tuple[Tensor, tuple[Tensor, Tensor]]] = {}

    def remember(module: object, arguments: tuple[()], options: dict[str, object]) -> None:
        seen["last"] = (options["hidden_states"], options["position_embeddings"])  # type: ignore[assignment]

    handle = layer.register_forward_pre_hook(remember, with_kwargs=True)
    with torch.no_grad(), attention_weights(backbone) as weights:
        policy._encode(preprocessor.act_tokens(OBSERVATIONS[:1]))
    handle.remove()
    hidden, (cosines, sines) = seen["last"]
    with torch.no_grad():
        queries = layer.q_norm(layer.q_proj(hidden).view(1, -1, 4, 32)).transpose(1, 2)
        keys = layer.k_norm(layer.k_proj(hidden).view(1, -1, 2, 32)).transpose(1, 2)
        queries, keys = apply_rotary_pos_emb(queries, keys, cosines, sines)
    scores = queries.double() @ keys.double().repeat_interleave(2, dim=1).transpose(2, 3) / 32**0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal=1)
    expected = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
    torch.testing.assert_close(weights[-1].double(), expected, atol=1e-6, rtol=1e-4)
