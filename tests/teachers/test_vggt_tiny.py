"""The tiny VGGT that ships: it loads by name, and its features hold 3D that places in the picture do not."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thinkvla.pretrain.measure import ridge
from thinkvla.pretrain.scenes import MOMENTS, Scene, visit
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.teachers.registry import VGGT_TINY, build_teacher
from thinkvla.teachers.vggt import load_aggregator

SCENES = 24
FITTED = 36  # moments; the other 12 are scored
CELLS = 4  # points of a patch along each side


def test_it_is_small_and_ships_in_the_published_layout() -> None:
    file = VGGT_TINY / "model.safetensors"
    assert file.stat().st_size < 10_000_000
    model = load_aggregator(file)
    assert 2e6 < sum(value.numel() for value in model.parameters()) < 5e6
    assert (model.config.image_size, model.config.patch_size) == (96, 12)


def test_its_features_tell_where_the_wrists_patches_are() -> None:
    """Scenes that it never saw: from the lower half of the training seeds."""
    images, points = [], []
    for seed in range(SCENES):
        for world, _ in visit(Scene("object", seed % 10, seed)):
            images.append(np.stack([world.render(camera, TABLETOP.image_size) for camera in TABLETOP.cameras]))
            points.append(world.point_maps(3))
    teacher = build_teacher("vggt_tiny", None, TABLETOP.image_size)
    features = teacher.features(torch.from_numpy(np.stack(images)))
    assert features.shape == (MOMENTS * SCENES, 2, 8, 8, 384)
    true = torch.from_numpy(np.stack(points)).unflatten(3, (8, CELLS)).unflatten(2, (8, CELLS)).mean(dim=(3, 5))
    place = torch.eye(64).view(1, 1, 8, 8, 64).expand(len(features), 2, -1, -1, -1)
    error = {name: wrist_error(values, true) for name, values in (("features", features), ("place", place))}
    assert error["features"] < 0.5 * error["place"]


def wrist_error(features: Tensor, true: Tensor) -> float:
    """Mean distance to the held-out points of the second view, read linearly."""
    wrist = features[:, 1].flatten(1, 2), true[:, 1].flatten(1, 2)
    read = ridge(*(values[:FITTED].flatten(0, 1) for values in wrist))
    held_out, points = (values[FITTED:].flatten(0, 1) for values in wrist)
    return float((read(held_out) - points).norm(dim=-1).mean())
