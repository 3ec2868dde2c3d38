"""Fusion, pooling, branch dropout and the head, against float64 references; and the policy's own checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import build, observation, robot_batch, with_switches
from torch import nn

from thinkvla.method.action_head import ActionHead
from thinkvla.method.config import Fusion, MethodConfig, Pooling
from thinkvla.method.integration import Branch, Integration
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import TEACHER

D, G = 6, 5


def latents(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(4, 3, D), torch.randn(4, 10, G), torch.randn(4, 2, D)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def run(module: nn.Module, x: np.ndarray) -> np.ndarray:
    return np.asarray(module.double()(torch.from_numpy(x)).detach().numpy())


@pytest.mark.parametrize("fusion", ["add", "gate", "cross_attention"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_fusion(fusion: Fusion, pooling: Pooling) -> None:
    config = MethodConfig(geometry_dim=G, fusion=fusion, pooling=pooling)
    queries, geometry, reasoning = latents()
    module = Integration(D, config).eval().double()
    measured = module(queries.double(), geometry.double(), reasoning.double()).detach().numpy()

    expected = queries.double().numpy()
    attends = {
        "geometry": fusion == "cross_attention" or pooling == "attention",
        "reasoning": fusion == "cross_attention",
    }
    for name, source in (("geometry", geometry), ("reasoning", reasoning)):
        branch = getattr(module, name)
        values, asked = source.double().numpy(), queries.double().numpy()
        if attends[name]:
            scores = run(branch.attend.query, asked) @ run(branch.attend.key, values).swapaxes(1, 2)
            pooled = softmax(scores / np.sqrt(D)) @ values
        else:
            pooled = np.repeat(values.mean(axis=1, keepdims=True), 3, axis=1)
        addition = run(branch.project, pooled)
        if fusion == "gate":
            addition = addition / (1 + np.exp(-run(branch.gate, np.concatenate([asked, addition], axis=-1))))
        expected = expected + addition
    np.testing.assert_allclose(measured, expected, atol=1e-12)


def test_branch_dropout_drops_whole_samples_where_the_draw_says_so() -> None:
    torch.manual_seed(0)
    branch = Branch(D, G, MethodConfig(geometry_dim=G, branch_dropout=0.3), pooled=True)
    queries, geometry = torch.zeros(4000, 2, D), torch.ones(4000, 3, G)
    draws = torch.rand(4000)
    added = branch(queries, geometry, draws).abs().sum(dim=(1, 2))
    full = branch(queries, geometry).abs().sum(dim=(1, 2))
    dropped = added == 0
    assert torch.equal(dropped, draws < 0.3)
    torch.testing.assert_close(added[~dropped], full[~dropped])
    assert (full > 0).all()


def test_head_is_the_papers_stack() -> None:
    """LayerNorm → Linear → ReLU → two residual blocks → LayerNorm → Linear, in float64."""

    def norm(layer: Any, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.eps)
        return np.asarray(scaled * layer.weight.detach().double().numpy() + layer.bias.detach().double().numpy())

    def linear(layer: Any, x: np.ndarray) -> np.ndarray:
        return np.asarray(x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy())

    torch.manual_seed(1)
    head = ActionHead(D, 7)
    queries, _, _ = latents()
    layers: list[Any] = list(head.layers)
    x = np.maximum(linear(layers[1], norm(layers[0], queries.double().numpy())), 0)
    for block in layers[3:5]:
        x = x + np.maximum(linear(block.linear, norm(block.norm, x)), 0)
    expected = linear(layers[6], norm(layers[5], x))
    np.testing.assert_allclose(head(queries).detach().numpy(), expected, atol=1e-5)
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [2 * D, 7]


def test_head_stays_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert ActionHead(D, 7)(torch.randn(1, 2, D, dtype=torch.bfloat16)).dtype == torch.float32


def test_teacher_gets_no_gradient() -> None:
    """The distillation loss alone moves nothing through H_teacher: its tokens' embeddings stay untouched."""
    policy, preprocessor = build()
    batch = robot_batch(preprocessor)
    output = policy.think(batch.tokens)
    assert output.teacher_BRD is not None
    assert not output.teacher_BRD.requires_grad
    assert output.student_BRD is not None
    output.student_BRD.square().mean().backward()
    backbone: Any = policy.backbone
    embedding = backbone.model.get_input_embeddings().weight.grad
    only_teacher = set(batch.tokens.ids_BL[batch.tokens.segments_BL == TEACHER].tolist()) - set(
        batch.tokens.ids_BL[batch.tokens.segments_BL != TEACHER].tolist()
    )
    assert only_teacher
    assert embedding[list(only_teacher)].abs().max() == 0


def test_acting_equals_training_output() -> None:
    """The teacher's tokens change nothing for the student: deployment predicts what training predicted."""
    policy, preprocessor = build()
    policy.eval()
    batch = robot_batch(preprocessor)
    observations = [observation(text, seed) for seed, text in enumerate(["put the red cube on the plate", "lift it"])]
    trained = policy.think(batch.tokens).actions_BCA[:2]
    acted = policy.act(preprocessor.act_tokens(observations))
    torch.testing.assert_close(acted, trained, atol=1e-5, rtol=1e-4)


def test_forward_serves_both_batches() -> None:
    policy, preprocessor = build()
    batch = robot_batch(preprocessor)
    output, scores = policy(robot=batch)
    assert scores is None
    assert output.actions_BCA.shape == (3, 8, 7)
    assert policy() == (None, None)


def test_two_forwards_without_a_block_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, preprocessor = build()
    batch = robot_batch(preprocessor)
    packed = policy.think(batch.tokens)
    monkeypatch.setattr(policy.backbone, "blockwise", False)
    apart = policy.think(batch.tokens)
    torch.testing.assert_close(packed.actions_BCA, apart.actions_BCA, atol=1e-5, rtol=1e-4)


def test_impossible_vision_block_is_named() -> None:
    with pytest.raises(ValueError, match=r"vision_block is 17, but this backbone has 4 vision blocks; choose 0 to 3"):
        build(with_switches(vision_block=17))


def test_token_ids_must_fit() -> None:
    policy, _ = build()
    with pytest.raises(ValueError, match="expected 1 anchor and 8 query token ids, got 0 and 2"):
        ThinkVLA(policy.backbone, policy.config, (), (1, 2))


def test_batches_move_with_all_their_tensors() -> None:
    _, preprocessor = build()
    moved = robot_batch(preprocessor).to("meta")
    assert moved.tokens.ids_BL.is_meta
    assert moved.actions_BCA.is_meta
    assert moved.geometry_BVhwG is not None
    assert moved.geometry_BVhwG.is_meta
