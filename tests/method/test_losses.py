"""Every loss against an independent float64 computation, written out in numpy from the paper's formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_models import SMALL, build, question_batch, robot_batch

from thinkvla.method.geometry import cosine_distance, raster_order, resize_targets
from thinkvla.method.objective import ACTION, GEOMETRY, LANGUAGE, REASONING, counts, question_sums, robot_sums, weights
from thinkvla.method.prompts import IGNORE

Array = NDArray[np.float64]


def distance(a: Array, b: Array) -> Array:
    """1 − cos over the last axis."""
    cosine: Array = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return 1 - cosine


def bilinear(grid: Array, height: int, width: int) -> Array:
    """(h', w', G) → (height, width, G), pixel centres aligned, edges repeated."""
    rows, columns, size = grid.shape
    out = np.zeros((height, width, size))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            v, u = y - top, x - left
            out[i, j] = (1 - v) * ((1 - u) * grid[top, left] + u * grid[top, right])
            out[i, j] += v * ((1 - u) * grid[bottom, left] + u * grid[bottom, right])
    return out


def double(tensor: torch.Tensor | None) -> Array:
    assert tensor is not None
    return tensor.detach().double().numpy()


def test_robot_losses() -> None:
    policy, preprocessor = build(replace(SMALL, anchor_tokens=3))
    batch = robot_batch(preprocessor, replace(SMALL, anchor_tokens=3))
    output = policy.think(batch.tokens)
    sums = {term: value.item() for term, value in robot_sums(output, batch).items()}
    number = counts(batch, None)

    valid = double(batch.valid_BC)[..., None]
    errors = np.abs(double(output.actions_BCA) - double(batch.actions_BCA)) * valid
    assert number[ACTION] == valid.sum() * 7 == (8 + 8 + 4) * 7
    assert sums[ACTION] == pytest.approx(errors.sum(), rel=1e-5)

    features, targets = double(output.features_BVhwG), double(batch.geometry_BVhwG)
    expected = 0.0
    for sample in range(3):
        views = [
            distance(bilinear(targets[sample, v], *features.shape[2:4]), features[sample, v]).mean() for v in range(2)
        ]
        expected += float(np.mean(views))
    assert number[GEOMETRY] == 3
    assert sums[GEOMETRY] == pytest.approx(expected, rel=1e-5)

    apart = distance(double(output.teacher_BRD), double(output.student_BRD))
    assert apart.shape == (3, 3)
    assert number[REASONING] == 3
    assert sums[REASONING] == pytest.approx(apart.mean(axis=1).sum(), rel=1e-4)


def test_language_loss_is_on_the_assistant_span() -> None:
    policy, preprocessor = build()
    batch = question_batch(preprocessor)
    scores = double(policy.answer(batch))
    labels = [token for row in batch.labels_BL.tolist() for token in row if token != IGNORE]
    shifted = scores - scores.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    expected = -logarithms[np.arange(len(labels)), labels].sum()
    assert counts(None, batch) == {LANGUAGE: len(labels)}
    measured = question_sums(policy.answer(batch), batch)[LANGUAGE].item()
    assert measured == pytest.approx(float(expected), rel=1e-5)


def test_answer_scores_depend_on_earlier_tokens_only() -> None:
    """Scores of an answer's token are those of a forward that ends right before it."""
    policy, preprocessor = build()
    batch = question_batch(preprocessor)
    row = batch.labels_BL[0]
    first = int((row != IGNORE).nonzero()[0])
    scores = policy.answer(batch)[0]
    cut = replace(
        batch.tokens, ids_BL=batch.tokens.ids_BL[:1, :first], segments_BL=batch.tokens.segments_BL[:1, :first]
    )
    grids = batch.tokens.grids_N3
    assert grids is not None
    assert batch.tokens.pixels is not None
    cut = replace(cut, pixels=batch.tokens.pixels[: int(grids[0].prod())], grids_N3=grids[:1])
    hidden, _ = policy._encode(cut)
    torch.testing.assert_close(policy.backbone.logits(hidden[0, -1]), scores, rtol=1e-4, atol=1e-5)


def test_weights_are_the_papers() -> None:
    assert weights(SMALL) == {ACTION: 1.0, GEOMETRY: 0.5, REASONING: 0.5, LANGUAGE: 0.1}


def test_geometry_adapter_needs_targets() -> None:
    policy, preprocessor = build()
    batch = replace(robot_batch(preprocessor), geometry_BVhwG=None)
    with pytest.raises(ValueError, match=r"no geometry targets.*feature cache"):
        robot_sums(policy.think(batch.tokens), batch)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_raster_order(images: int, rows: int, columns: int, merge: int) -> None:
    """Against the definition: blocks in raster order, patches in raster order within each block."""
    height, width = rows * merge, columns * merge
    places = [
        (n * height + r * merge + i) * width + c * merge + j
        for n in range(images)
        for r in range(rows)
        for c in range(columns)
        for i in range(merge)
        for j in range(merge)
    ]
    merged = torch.tensor(places, dtype=torch.float32)[:, None]
    raster = raster_order(merged, height, width, merge)
    assert raster.shape == (images, height, width, 1)
    assert torch.equal(raster.flatten(), torch.arange(images * height * width, dtype=torch.float32))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))
def test_resize(rows: int, columns: int, height: int, width: int) -> None:
    grid = np.random.default_rng(rows).normal(size=(rows, columns, 2))
    resized = resize_targets(torch.from_numpy(grid)[None, None], height, width)[0, 0]
    np.testing.assert_allclose(resized.numpy(), bilinear(grid, height, width), atol=1e-12)


def test_cosine_distance_range() -> None:
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    assert cosine_distance(a, b).tolist() == pytest.approx([0, 1, 2])
