"""Normalization and its inverse, and batches with the targets they were given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import EMBODIMENT, build, robot_batch

from thinkvla.backbones.tiny import tiny_image_processor
from thinkvla.contract import Normalization
from thinkvla.preprocessor import ActionNormalizer, _keeps_size, prepare_images

STATISTICS = {
    "min": np.array([-2.0, 0.0, 1.0, -1.0, -1.0, -1.0, -1.0]),
    "max": np.array([2.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    "q01": np.array([-1.0, 1.0, 1.0, -0.5, -0.5, -0.5, -1.0]),
    "q99": np.array([1.0, 3.0, 1.0, 0.5, 0.5, 0.5, 1.0]),
}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("min_max", [0.5, -0.5, 0.0, 1.0, -1.0, 0.0, 1.0]),
        ("quantile", [1.0, -1.0, 0.0, 1.0, -1.0, 0.0, 1.0]),
        ("range", [1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 1.0]),
    ],
)
def test_by_hand(mode: Normalization, expected: list[float]) -> None:
    """(x − low) / (high − low) · 2 − 1, clipped; a dimension that never moves is 0, the gripper stays raw."""
    normalizer = ActionNormalizer.of(mode, STATISTICS, EMBODIMENT)
    actions = np.array([1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 1.0], np.float32)
    assert normalizer.normalize(actions).tolist() == pytest.approx(expected)


@given(st.lists(st.floats(-1, 1, width=32), min_size=7, max_size=7))
def test_round_trip_inside_the_bounds(values: list[float]) -> None:
    normalizer = ActionNormalizer.of("min_max", STATISTICS, EMBODIMENT)
    normalized = np.array(values, np.float32)
    normalized[2] = 0
    back = normalizer.normalize(normalizer.denormalize(normalized))
    np.testing.assert_allclose(back, normalized, atol=1e-5)


def test_outputs_are_clipped() -> None:
    normalizer = ActionNormalizer.of("min_max", STATISTICS, EMBODIMENT)
    assert normalizer.denormalize(np.full(7, 9.0, np.float32)).tolist() == [2, 4, 1, 1, 1, 1, 1]


def test_missing_statistics_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"no 'q01', which normalization 'quantile' needs \(they have \['max', 'min'\]"
    ):
        ActionNormalizer.of("quantile", {k: STATISTICS[k] for k in ("min", "max")}, EMBODIMENT)


def test_robot_batch_shapes() -> None:
    _, preprocessor = build()
    batch = robot_batch(preprocessor)
    assert batch.actions_BCA.shape == (3, 8, 7)
    assert batch.valid_BC.sum(dim=1).tolist() == [8, 8, 4]
    assert batch.geometry_BVhwG is not None
    assert batch.geometry_BVhwG.shape == (3, 2, 6, 6, 24)
    assert batch.tokens.grids_N3 is not None
    assert batch.tokens.grids_N3.tolist() == [[1, 8, 8]] * 6
    assert batch.tokens.pixels is not None
    assert batch.tokens.pixels.shape == (6 * 64, 3 * 2 * 12 * 12)


def test_pixels_are_the_image() -> None:
    """Patches hold (x / 255 − 0.5) / 0.5 of the views in order, both temporal copies alike, in 2 × 2 merge order."""
    _, preprocessor = build()
    image = np.arange(96 * 96 * 3, dtype=np.int64).reshape(96, 96, 3) % 251
    from tiny_models import EMBODIMENT

    from thinkvla.contract import Observation

    views = {camera: np.asarray(image + shift, np.uint8) for shift, camera in enumerate(EMBODIMENT.cameras)}
    tokens = preprocessor.act_tokens([Observation(views, "lift it")])
    assert tokens.pixels is not None
    patches = tokens.pixels.view(2, 4, 4, 2, 2, 3, 2, 12, 12)  # view, block row, block column, row, column, RGB, time
    for view, camera in enumerate(EMBODIMENT.cameras):
        expected = torch.from_numpy(views[camera].astype(np.float32) / 255 * 2 - 1)
        for time in range(2):
            seen = patches[view, ..., time, :, :].permute(0, 2, 5, 1, 3, 6, 4).reshape(96, 96, 3)
            torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


def test_images_that_keep_their_size_are_prepared_as_the_processor_does() -> None:
    processor = tiny_image_processor()
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    expected = processor(images=list(images), return_tensors="pt")
    assert _keeps_size(processor, images[0].shape)
    pixels, grids, sizes = prepare_images(processor, list(images))
    assert pixels is not None
    assert grids is not None
    assert sizes == [16] * 3
    torch.testing.assert_close(pixels, expected["pixel_values"], rtol=0, atol=1e-6)
    assert torch.equal(grids, expected["image_grid_thw"])
    assert not _keeps_size(processor, (100, 96, 3))
    assert not _keeps_size(processor, (192, 192, 3))
