"""VGGT: the network against a golden file and an independent reference, loading, and the teacher around it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from thinkvla.teachers.aggregator import Aggregator, AggregatorConfig, rotate, rotation
from thinkvla.teachers.registry import build_teacher
from thinkvla.teachers.vggt import PREFIX, VggtTeacher, load_aggregator

GOLDEN = Path(__file__).parent / "golden_vggt.safetensors"  # written by benchmarks/vggt_parity.py
CONFIG = AggregatorConfig(image_size=28, patch_size=7, width=16, heads=2, depth=2, encoder_depth=2, registers=2)


def test_golden_file_is_reproduced_under_the_published_names() -> None:
    golden = load_file(GOLDEN)
    model = load_aggregator(GOLDEN).eval()
    assert model.config == CONFIG
    with torch.inference_mode():
        features = model(golden["images"])
    assert features.shape == (1, 2, 3 + 15, 32)
    torch.testing.assert_close(features, golden["features"], atol=1e-5, rtol=0)


def test_the_published_size_has_the_published_names() -> None:
    with torch.device("meta"):
        model = Aggregator(AggregatorConfig())
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["patch_embed.pos_embed"] == (1, 1 + 37 * 37, 1024)
    assert shapes["patch_embed.patch_embed.proj.weight"] == (1024, 3, 14, 14)
    assert shapes["patch_embed.blocks.23.ls2.gamma"] == (1024,)
    assert shapes["frame_blocks.23.attn.q_norm.weight"] == (64,)
    assert shapes["global_blocks.23.mlp.fc1.weight"] == (4096, 1024)
    assert shapes["camera_token"] == (1, 2, 1, 1024)
    assert shapes["register_token"] == (1, 2, 4, 1024)
    assert sum(value.numel() for value in model.parameters()) == 909_111_296


def float64_rotation(heads: np.ndarray, row: int, column: int) -> np.ndarray:
    """One token's head turned by the definition: complex numbers, the rows' half and the columns' half."""
    size = len(heads) // 2
    frequency = 100.0 ** (-np.arange(0, size, 2) / size)
    halves = []
    for half, place in ((heads[:size], row), (heads[size:], column)):
        turned = (half[: size // 2] + 1j * half[size // 2 :]) * np.exp(1j * place * frequency)
        halves += [turned.real, turned.imag]
    return np.concatenate(halves)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), special=st.integers(0, 3), quarter=st.integers(1, 4))
def test_heads_turn_by_row_and_column(rows: int, columns: int, special: int, quarter: int) -> None:
    generator = torch.Generator().manual_seed(rows + 7 * columns)
    heads = torch.randn(1, 1, special + rows * columns, 4 * quarter, generator=generator)
    turned = rotate(heads, rotation(rows, columns, special, 4 * quarter, heads))
    torch.testing.assert_close(turned[..., :special, :], heads[..., :special, :])
    for place in range(rows * columns):
        expected = float64_rotation(
            heads[0, 0, special + place].double().numpy(), place // columns + 1, place % columns + 1
        )
        np.testing.assert_allclose(turned[0, 0, special + place].numpy(), expected, atol=1e-5)


@pytest.fixture
def model() -> Aggregator:
    torch.manual_seed(0)
    return Aggregator(CONFIG).eval()


@torch.inference_mode()
def test_the_first_view_is_marked_and_other_views_share_their_tokens(model: Aggregator) -> None:
    model.camera_token.normal_()
    images = torch.rand(1, 3, 3, 28, 28)
    one = model(images)
    swapped = model(images[:, [0, 2, 1]])
    torch.testing.assert_close(swapped[:, [0, 2, 1]], one, atol=1e-5, rtol=1e-4)
    other_first = model(images[:, [1, 0, 2]])
    assert (other_first[:, [1, 0, 2]] - one).abs().max() > 1e-3


@torch.inference_mode()
def test_scenes_do_not_see_each_other(model: Aggregator) -> None:
    images = torch.rand(2, 2, 3, 28, 28)
    torch.testing.assert_close(model(images)[1:], model(images[1:]), atol=1e-5, rtol=1e-4)


def test_images_of_another_shape_are_refused(model: Aggregator) -> None:
    with pytest.raises(ValueError, match=r"multiples of 7, got \(1, 2, 3, 28, 30\)"):
        model(torch.rand(1, 2, 3, 28, 30))
    with pytest.raises(ValueError, match="image_size is 30; expected a multiple of patch_size 7"):
        AggregatorConfig(image_size=30, patch_size=7)
    with pytest.raises(ValueError, match="width is 20; expected a multiple of 4 × heads = 8"):
        AggregatorConfig(image_size=28, patch_size=7, width=20, heads=2)


def published(model: Aggregator) -> dict[str, Tensor]:
    """A state as published: a prefix, the encoder's mask token, and heads."""
    state = {PREFIX + name: value.clone() for name, value in model.state_dict().items()}
    return state | {"aggregator.patch_embed.mask_token": torch.zeros(1, 16), "camera_head.bias": torch.zeros(3)}


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_teacher_gives_the_patches_of_its_last_layer(
    model: Aggregator, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = published(model)
    if name.endswith(".pt"):
        torch.save(state, tmp_path / name)
    else:
        save_file(state, tmp_path / name)
    with caplog.at_level(logging.WARNING):
        teacher = build_teacher("vggt", tmp_path, (28, 28))
    assert "non-commercial" in caplog.text
    assert (teacher.grid, teacher.dim, teacher.wants) == ((4, 4), 32, "images")
    frames = torch.randint(0, 256, (9, 2, 28, 28, 3), dtype=torch.uint8)  # more than go at once
    with torch.inference_mode():
        expected = model(frames.permute(0, 1, 4, 2, 3).float() / 255)[:, :, 3:].view(9, 2, 4, 4, 32)
    torch.testing.assert_close(teacher.features(frames), expected, atol=1e-5, rtol=1e-4)


def test_views_keep_their_aspect(model: Aggregator, tmp_path: Path) -> None:
    save_file(published(model), tmp_path / "model.safetensors")
    teacher = VggtTeacher(tmp_path, (48, 96))
    assert teacher.grid == (2, 4)
    assert teacher.features(torch.zeros(1, 1, 48, 96, 3, dtype=torch.uint8)).shape == (1, 1, 2, 4, 32)
    with pytest.raises(ValueError, match=r"expected uint8 images \(B, V, 48, 96, 3\), got \(1, 1, 28, 28, 3\)"):
        teacher.features(torch.zeros(1, 1, 28, 28, 3, dtype=torch.uint8))


def test_the_fingerprint_is_that_of_weights_and_grid(model: Aggregator, tmp_path: Path) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save_file(published(model), one)
    save_file(published(model) | {"camera_head.bias": torch.ones(3)}, other)
    prints = {
        VggtTeacher(one, (28, 28)).fingerprint,
        VggtTeacher(other, (28, 28)).fingerprint,
        VggtTeacher(one, (14, 28)).fingerprint,
    }
    assert len(prints) == 3
    assert VggtTeacher(one, (28, 28)).fingerprint in prints


def test_weights_that_are_missing_or_of_another_network_are_refused(model: Aggregator, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no VGGT weights there; expected .* 'hf download facebook/VGGT-1B"):
        VggtTeacher(tmp_path, (28, 28))
    file = tmp_path / "model.safetensors"
    save_file({"encoder.weight": torch.zeros(2)}, file)
    with pytest.raises(ValueError, match=r"holds no VGGT aggregator: aggregator\.patch_embed\.patch_embed\.proj"):
        VggtTeacher(file, (28, 28))
    state = published(model)
    del state["aggregator.global_blocks.1.mlp.fc1.bias"]
    save_file(state, file)
    with pytest.raises(ValueError, match=r"1 parameters .* the first is aggregator\.global_blocks\.1\.mlp\.fc1\.bias"):
        VggtTeacher(file, (28, 28))


def test_a_teacher_and_its_weights_go_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"teacher_weights is None, but the teacher 'vggt' needs them"):
        build_teacher("vggt", None, (28, 28))
    with pytest.raises(ValueError, match=r"the teacher 'simulator' has none: leave it out"):
        build_teacher("simulator", tmp_path, (28, 28))
    assert build_teacher("simulator", None, (28, 28)).dim == 48
