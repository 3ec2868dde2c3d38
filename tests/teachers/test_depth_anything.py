"""Depth Anything 3: the encoder against a golden file, its tokens, loading, and the teacher around it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from thinkvla.teachers.depth_anything import (
    PREFIX,
    DepthAnythingConfig,
    DepthAnythingEncoder,
    DepthAnythingTeacher,
    load_encoder,
)
from thinkvla.teachers.registry import build_teacher

GOLDEN = Path(__file__).parent / "golden_depth_anything.safetensors"  # written by benchmarks/depth_anything_parity.py
CONFIG = DepthAnythingConfig(image_size=28, patch_size=7, width=16, heads=2, depth=4, alternate_from=2)


def test_golden_file_is_reproduced_under_the_published_names() -> None:
    golden = load_file(GOLDEN)
    model = load_encoder(GOLDEN).eval()
    assert model.config == CONFIG
    with torch.inference_mode():
        features = model(golden["images"])
    assert features.shape == (1, 2, 15, 32)
    torch.testing.assert_close(features, golden["features"], atol=1e-5, rtol=0)


def test_the_published_size_has_the_published_names() -> None:
    with torch.device("meta"):
        model = DepthAnythingEncoder(DepthAnythingConfig())
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["pos_embed"] == (1, 1 + 37 * 37, 768)
    assert shapes["patch_embed.proj.weight"] == (768, 3, 14, 14)
    assert shapes["camera_token"] == (1, 2, 768)
    assert "blocks.3.attn.q_norm.weight" not in shapes
    assert shapes["blocks.4.attn.q_norm.weight"] == (64,)
    assert shapes["blocks.11.ls2.gamma"] == (768,)
    assert shapes["norm.weight"] == (768,)
    assert sum(value.numel() for value in model.parameters()) == 86_583_296


@pytest.fixture
def model() -> DepthAnythingEncoder:
    torch.manual_seed(0)
    return DepthAnythingEncoder(CONFIG).eval()


@torch.inference_mode()
def test_the_first_view_is_the_reference(model: DepthAnythingEncoder) -> None:
    images = torch.rand(1, 3, 3, 28, 28)
    one = model(images)
    torch.testing.assert_close(model(images[:, [0, 2, 1]])[:, [0, 2, 1]], one, atol=1e-5, rtol=1e-4)
    assert (model(images[:, [1, 0, 2]])[:, [1, 0, 2]] - one).abs().max() > 1e-3
    # Scenes do not see each other, and views of another scene change nothing.
    two = torch.cat([images, torch.rand(1, 3, 3, 28, 28)])
    torch.testing.assert_close(model(two)[:1], one, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_half_of_a_feature_is_of_its_view_alone_until_views_meet(model: DepthAnythingEncoder) -> None:
    """With one later block of each kind the first half has seen no other view, the second half has."""
    images, other = torch.rand(1, 2, 3, 28, 28), torch.rand(1, 1, 3, 28, 28)
    changed = torch.cat([images[:, :1], other], dim=1)
    one, two = model(images)[:, 0], model(changed)[:, 0]
    torch.testing.assert_close(one[..., :16], two[..., :16], atol=1e-5, rtol=1e-4)
    assert (one[..., 16:] - two[..., 16:]).abs().max() > 1e-3
    # The second half is normalized: weight one and bias zero here.
    torch.testing.assert_close(one[..., 16:], F.layer_norm(one[..., 16:], (16,)), atol=1e-3, rtol=0)


def published(model: DepthAnythingEncoder) -> dict[str, Tensor]:
    """A state as published: a prefix, and heads."""
    state = {PREFIX + name: value.clone() for name, value in model.state_dict().items()}
    return state | {"model.head.scratch.bias": torch.zeros(3), "model.cam_dec.fc_t.bias": torch.zeros(3)}


def test_a_teacher_gives_every_patch_of_the_views(
    model: DepthAnythingEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(published(model), tmp_path / "model.safetensors")
    with caplog.at_level(logging.WARNING):
        teacher = build_teacher("depth_anything", tmp_path, (28, 28))
    assert "Apache-2.0" in caplog.text
    assert (teacher.grid, teacher.dim, teacher.wants) == ((4, 4), 32, "images")
    assert teacher.fingerprint.startswith("depth_anything_3-")
    frames = torch.randint(0, 256, (3, 2, 28, 28, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model(frames.permute(0, 1, 4, 2, 3).float() / 255).view(3, 2, 4, 4, 32)
    torch.testing.assert_close(teacher.features(frames), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"depth_anything_3 teacher: expected uint8 images \(B, V, 28, 28, 3\)"):
        teacher.features(frames.float())


def test_large_tables_are_used_at_504_pixels(tmp_path: Path) -> None:
    large = DepthAnythingEncoder(replace(CONFIG, image_size=518, patch_size=14))
    save_file(published(large), tmp_path / "model.safetensors")
    assert DepthAnythingTeacher(tmp_path, (96, 192)).grid == (18, 36)


def test_weights_that_are_missing_or_of_another_network_are_refused(
    model: DepthAnythingEncoder, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"no Depth Anything 3 weights there; .* 'hf download depth-anything/DA3-BASE"):
        DepthAnythingTeacher(tmp_path, (28, 28))
    with pytest.raises(ValueError, match="teacher 'depth_anything' needs them"):
        build_teacher("depth_anything", None, (28, 28))
    file = tmp_path / "model.safetensors"
    single = {name: value for name, value in published(model).items() if "_norm." not in name}
    save_file(single, file)
    with pytest.raises(ValueError, match=r"holds no Depth Anything 3 encoder .*blocks\.3\.attn\.q_norm\.weight is"):
        DepthAnythingTeacher(file, (28, 28))
    state = published(model)
    state[PREFIX + "blocks.0.mlp.w12.weight"] = state.pop(PREFIX + "blocks.0.mlp.fc1.weight")
    save_file(state, file)
    with pytest.raises(ValueError, match=r"2 parameters are missing, unknown .*blocks\.0\.mlp\.fc1\.weight"):
        DepthAnythingTeacher(file, (28, 28))
