"""Packed student and teacher equal two forwards; and the test would notice a wrong mask or wrong positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import build, robot_batch, with_switches
from torch import Tensor

from thinkvla.backbones.build import Attention
from thinkvla.method import policy as policy_module
from thinkvla.method.batch import RobotBatch
from thinkvla.method.objective import counts, robot_sums
from thinkvla.method.packing import block_mask, last_token, restart_positions
from thinkvla.method.policy import RobotOutput, ThinkVLA
from thinkvla.method.prompts import PAD, PREFIX, STUDENT, TEACHER

BOUND = 1e-5


def gradients(policy: ThinkVLA, batch: RobotBatch, output: RobotOutput) -> dict[str, Tensor]:
    policy.zero_grad()
    number = counts(batch, None)
    torch.stack([total / number[term] for term, total in robot_sums(output, batch).items()]).sum().backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


def compare(policy: ThinkVLA, batch: RobotBatch) -> tuple[float, float]:
    """Largest difference of latents and actions, and of any parameter's gradient, packed against two forwards."""
    packed, apart = policy.think(batch.tokens), policy.think_twice(batch.tokens)
    pairs = [
        (packed.anchor_BRD, apart.anchor_BRD),
        (packed.teacher_BRD, apart.teacher_BRD),
        (packed.actions_BCA, apart.actions_BCA),
        (packed.features_BVhwG, apart.features_BVhwG),
    ]
    hidden = 0.0
    for a, b in pairs:
        assert a is not None
        assert b is not None
        hidden = max(hidden, (a - b).abs().max().item())
    ours, theirs = gradients(policy, batch, packed), gradients(policy, batch, apart)
    assert ours.keys() == theirs.keys()
    return hidden, max((ours[name] - theirs[name]).abs().max().item() for name in ours)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("anchors", [1, 8])
def test_packed_equals_two_forwards(attention: Attention, anchors: int) -> None:
    policy, preprocessor = build(with_switches(anchor_tokens=anchors), attention)
    batch = robot_batch(preprocessor)
    assert (batch.tokens.segments_BL == PAD).any(), "the batch must hold padding"
    hidden, gradient = compare(policy, batch)
    assert hidden < BOUND
    assert gradient < BOUND


def test_packed_equals_two_forwards_without_anchor() -> None:
    policy, preprocessor = build(with_switches(reasoning_anchor=False))
    assert max(compare(policy, robot_batch(preprocessor))) < BOUND


def test_wrong_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain causal mask lets the teacher see the student's tokens."""

    def causal(segments_BL: Tensor) -> Tensor:
        return block_mask(torch.where(segments_BL == PAD, PAD, PREFIX))

    policy, preprocessor = build()
    monkeypatch.setattr(policy_module, "block_mask", causal)
    hidden, _ = compare(policy, robot_batch(preprocessor))
    assert hidden > 100 * BOUND


def test_wrong_positions_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the restart the teacher stands where no plain prompt would put it."""
    policy, preprocessor = build()
    monkeypatch.setattr(policy_module, "restart_positions", lambda positions, segments: positions)
    hidden, _ = compare(policy, robot_batch(preprocessor))
    assert hidden > 100 * BOUND


segments = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 5), st.integers(0, 4)).map(
    lambda n: [PREFIX] * n[0] + [STUDENT] * n[1] + [TEACHER] * n[2] + [PAD] * n[3]
)


@settings(max_examples=50, deadline=None)
@given(segments)
def test_mask_rules(row: list[int]) -> None:
    """Against the rules, written out one pair at a time."""
    mask = block_mask(torch.tensor([row]))[0, 0]
    for query, ours in enumerate(row):
        for key, theirs in enumerate(row):
            sees = query == key or (ours != PAD and theirs != PAD and key < query and theirs in (PREFIX, ours))
            assert mask[query, key] == sees


@settings(max_examples=50, deadline=None)
@given(segments)
def test_positions_of_each_prompt_are_consecutive(row: list[int]) -> None:
    row_L = torch.tensor([row])
    positions = restart_positions(torch.arange(len(row)).expand(3, 1, -1), row_L)[:, 0].numpy()
    for segment in (STUDENT, TEACHER):
        alone = positions[:, [s in (PREFIX, segment) for s in row]]
        assert np.array_equal(alone, np.broadcast_to(np.arange(alone.shape[1]), alone.shape))


@settings(max_examples=30, deadline=None)
@given(segments)
def test_last_token(row: list[int]) -> None:
    for segment in (PREFIX, STUDENT):
        found = last_token(torch.tensor([row]), segment)[0].nonzero().flatten().tolist()
        assert found == [max(i for i, s in enumerate(row) if s == segment)]
