"""Packed questions: hardly any padding, and the losses and gradients of each question on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import SMALL, build, robot_batch
from torch import Tensor

from thinkvla.backbones.build import Attention
from thinkvla.method import policy as policy_module
from thinkvla.method.batch import LENGTH_STEP, QuestionBatch
from thinkvla.method.objective import LANGUAGE, question_sums
from thinkvla.method.packing import block_mask, restart_positions
from thinkvla.method.policy import ThinkVLA, labelled_tokens
from thinkvla.method.prompts import PAD, PREFIX
from thinkvla.preprocessor import Preprocessor, QuestionSample
from thinkvla.question_packing import PADDING, pack_rows
from thinkvla.train.distribution import same_road

BOUND = 1e-5


def samples() -> list[QuestionSample]:
    """Text alone, one and two images of different sizes, one and several turns, spatial and general."""
    rng = np.random.default_rng(3)
    wide, tall, square = (
        rng.integers(0, 256, size, dtype=np.uint8) for size in ((48, 96, 3), (96, 48, 3), (96, 96, 3))
    )
    return [
        QuestionSample((square,), (("Which is closer?", "The cube, at (0.1, 0.2). The final answer is A."),), True),
        QuestionSample((), (("Say yes.", "yes"), ("Say no.", "no"), ("And now?", "Neither.")), False),
        QuestionSample((wide, tall), (("From <image> to <image>?", "It moved."), ("Far?", "No.")), False),
        QuestionSample((tall,), (("What is it?", "a ball"),), False),
        QuestionSample((square,), (("Count the cubes in the picture, from the left to the right.", "3"),), False),
    ]


def share_of_padding(batch: QuestionBatch) -> float:
    return (batch.tokens.segments_BL == PAD).float().mean().item()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(3, 3000), min_size=1, max_size=48))
def test_rows_hold_every_question_once_with_little_padding(lengths: list[int]) -> None:
    rows = pack_rows(lengths, LENGTH_STEP)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    longest = -(-max(sum(lengths[number] for number in row) for row in rows) // LENGTH_STEP) * LENGTH_STEP
    padding = longest * len(rows) - sum(lengths)
    assert padding < PADDING * longest * len(rows) or (len(rows) == 1 and padding < LENGTH_STEP)


def test_rows_are_as_short_as_the_bound_allows() -> None:
    assert pack_rows([160] * 8, 16) == [[number] for number in range(8)]
    assert sorted(map(sorted, pack_rows([640, 320, 320], 16))) == [[0], [1, 2]]
    assert len(pack_rows([800, 100, 100], 16)) == 1


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_questions_equal_questions_alone(attention: Attention) -> None:
    policy, preprocessor = build(SMALL, attention)
    packed = preprocessor.question_batch(samples(), packed=True)
    assert len(packed.tokens.ids_BL) < len(samples())
    assert share_of_padding(packed) < PADDING < share_of_padding(preprocessor.question_batch(samples()))
    loss, gradients = summed(policy, [packed])
    alone = [preprocessor.question_batch([sample]) for sample in samples()]
    expected, each = summed(policy, alone)
    assert sum(labelled_tokens(batch).numel() for batch in alone) == labelled_tokens(packed).numel()
    assert loss == pytest.approx(expected, rel=1e-6)
    assert gradients.keys() == each.keys()
    assert max((gradients[name] - each[name]).abs().max().item() for name in each) < BOUND


def test_attention_without_a_block_mask_gets_a_row_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, preprocessor = build()
    packed = preprocessor.question_batch(samples(), packed=True)
    expected = policy.answer(packed)
    seen: list[Tensor] = []

    def note(segments_BL: Tensor) -> Tensor:
        seen.append(segments_BL)
        return block_mask(segments_BL)

    monkeypatch.setattr(policy.backbone, "blockwise", False)
    monkeypatch.setattr(policy_module, "block_mask", note)
    torch.testing.assert_close(policy.answer(packed), expected, rtol=0, atol=BOUND)
    assert len(seen[0]) == len(samples())
    assert set(seen[0].unique().tolist()) == {PAD, PREFIX}
    plain = preprocessor.question_batch(samples())
    assert plain.apart() is plain


def test_questions_apart_from_a_demonstration_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that holds no question (``same_road`` adds one for its images) stays as it is."""
    policy, preprocessor = build()
    texts = [sample for sample in samples() if not sample.images] * 3
    joined = same_road(preprocessor.question_batch(texts, packed=True), robot_batch(preprocessor))
    expected = policy.answer(joined)
    monkeypatch.setattr(policy.backbone, "blockwise", False)
    torch.testing.assert_close(policy.answer(joined), expected, rtol=0, atol=BOUND)
    assert len(joined.apart().tokens.ids_BL) == len(texts) + 1


def test_wrong_mask_and_wrong_positions_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions that see each other, or are counted on from one another, score differently."""
    policy, preprocessor = build()
    packed = preprocessor.question_batch(samples(), packed=True)
    expected = policy.answer(packed)
    with monkeypatch.context() as patch:
        patch.setattr(policy_module, "block_mask", lambda s: block_mask(torch.where(s == PAD, PAD, PREFIX)))
        assert (policy.answer(packed) - expected).abs().max() > 100 * BOUND
    starts = restart_positions(torch.arange(9).expand(3, 1, 9), torch.tensor([[3, 3, 4, 4, 4, 5, -1, -1, -1]]))
    assert starts[:, 0, :6].tolist() == [[0, 1, 0, 1, 2, 0]] * 3


def summed(policy: ThinkVLA, batches: list[QuestionBatch]) -> tuple[float, dict[str, Tensor]]:
    """Mean cross-entropy over all batches, and its gradients."""
    policy.zero_grad()
    total = torch.stack([question_sums(policy.answer(batch), batch)[LANGUAGE] for batch in batches]).sum()
    total = total / sum(labelled_tokens(batch).numel() for batch in batches)
    total.backward()
    gradients = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    return total.item(), gradients


def test_images_follow_their_questions() -> None:
    """Every question finds its own patches at its place in the packed batch."""
    _, preprocessor = build()
    packed = preprocessor.question_batch(samples(), packed=True)
    assert packed.tokens.pixels is not None
    assert packed.tokens.grids_N3 is not None
    found = packed.tokens.pixels.split(packed.tokens.grids_N3.prod(dim=1).tolist())
    image_token = int(preprocessor.tokenizer.convert_tokens_to_ids("<|image_pad|>"))
    number = 0
    for ids_L, segments_L in zip(packed.tokens.ids_BL, packed.tokens.segments_BL, strict=True):
        for segment in segments_L[segments_L != PAD].unique_consecutive():
            ids = ids_L[segments_L == segment].tolist()
            sample, alone = _of(preprocessor, ids)
            for patches in alone:
                torch.testing.assert_close(found[number], patches, rtol=0, atol=1e-5)
                number += 1
            assert ids.count(image_token) == sum(len(patches) for patches in alone) // 4, sample
    assert number == 5


def _of(preprocessor: Preprocessor, ids: list[int]) -> tuple[QuestionSample, tuple[Tensor, ...]]:
    for sample in samples():
        tokens = preprocessor.question_batch([sample]).tokens
        if tokens.ids_BL[0, : len(ids)].tolist() == ids:
            if tokens.pixels is None or tokens.grids_N3 is None:
                return sample, ()
            return sample, tokens.pixels.split(tokens.grids_N3.prod(dim=1).tolist())
    raise AssertionError("a packed question is none of the questions")
