"""What a pre-trained geometry teacher knows of scenes it never saw: errors of what it tells, and a linear probe.

The probe asks how much 3D the features themselves hold: a ridge regression from a patch's feature to the mean of the
true points it shows, fitted on training scenes, scored on held-out ones. The same is asked of a network with random
weights, and of the patch's place alone, which knows where the table is but not what stands on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from thinkvla.pretrain.geometry import GeometryPretraining, Told, new_aggregator
from thinkvla.pretrain.loop import PretrainConfig
from thinkvla.pretrain.views import ViewBatch, ViewBatches, view_batch
from thinkvla.progress import progress
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.teachers.aggregator import Aggregator, AggregatorConfig
from thinkvla.teachers.vggt import load_aggregator

CHUNK = 16
PROBE_MOMENTS = 512
"""Training moments that a probe is fitted on; with two views of 8 × 8 patches 65 536 features."""
RIDGE = 1e-3
"""Strength of the regression, as a share of the features' variance."""

Figures = dict[str, float]
Describe = Callable[[Tensor], Tensor]
"""uint8 views (B, V, H, W, 3) → features of patches (B, V, h, w, F)."""


def measure_geometry(config: PretrainConfig, folder: Path, sizes: AggregatorConfig) -> Path:
    """Measure the finished teacher in ``folder`` and write ``output/results.json``; returns that file.

    Errors are means over all held-out moments: points in cm in the first camera's frame and depths relative to the
    truth, for all points and for those of things and the arm; cameras after the first in cm and degrees.
    """
    pretraining = GeometryPretraining(config, sizes)
    state = torch.load(config.output / "state.pt", weights_only=True)
    pretraining.trained.load_state_dict(state["trained"])
    model = load_aggregator(folder / "model.safetensors").eval()
    pretraining.model.load_state_dict(model.state_dict())  # rounded, as it is shipped
    held_out = pretraining.batches(1, held_out=True)
    training = pretraining.batches(1, held_out=False)
    step = max(1, len(training.moments) // PROBE_MOMENTS)
    fitted = training.moments[::step][:PROBE_MOMENTS]
    torch.manual_seed(config.seed + 1)
    untrained = new_aggregator(sizes).eval()
    describe = {
        "trained": _patches(model, pretraining.grid),
        "untrained": _patches(untrained, pretraining.grid),
        "place": _places(pretraining.grid),
    }
    results = {
        "moments": {"trained": len(training.moments), "held_out": len(held_out.moments), "probe": len(fitted)},
        "errors": errors(pretraining.tell, held_out),
        "probe": {name: probe(features, training, fitted, held_out.moments) for name, features in describe.items()},
        "cosine_without_looking": without_looking(describe["trained"], held_out),
    }
    file = config.output / "results.json"
    file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return file


@torch.inference_mode()
def errors(tell: Callable[[Tensor], Told], held_out: ViewBatches) -> Figures:
    """Mean errors over all held-out moments, by view."""
    found: dict[str, list[Tensor]] = {}
    for batch in _chunks(held_out, held_out.moments, "measuring"):
        told = tell(batch.images_BVHW3)
        points = 100 * torch.linalg.vector_norm(told.points_BVhw3 - batch.points_BVhw3, dim=-1)
        depths = (told.log_depths_BVhw.exp() / batch.depths_BVhw - 1).abs()
        seen = ~batch.depths_BVhw.isnan()
        for view, camera in enumerate(TABLETOP.cameras):
            for name, chosen in (("all", seen), ("things", seen & batch.off_table_BVhw)):
                here = chosen[:, view]
                found.setdefault(f"points_cm/{camera}/{name}", []).append(points[:, view][here])
                found.setdefault(f"depth_relative/{camera}/{name}", []).append(depths[:, view][here])
        off = torch.linalg.vector_norm(told.positions_BV3 - batch.positions_BV3, dim=-1)[:, 1:]
        found.setdefault("camera_cm", []).append(100 * off.flatten())
        turned = rotation_from(told.columns_BV32).transpose(-1, -2) @ batch.rotations_BV33
        cosine = (turned.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
        found.setdefault("camera_degrees", []).append(torch.rad2deg(cosine[:, 1:].clamp(-1, 1).acos()).flatten())
    return {name: round(float(torch.cat(values).mean()), 4) for name, values in found.items()}


def rotation_from(columns: Tensor) -> Tensor:
    """The rotation matrices nearest to two told columns (..., 3, 2) in Gram and Schmidt's sense: (..., 3, 3)."""
    one = F.normalize(columns[..., 0], dim=-1)
    two = columns[..., 1]
    two = F.normalize(two - (one * two).sum(-1, keepdim=True) * one, dim=-1)
    return torch.stack([one, two, torch.linalg.cross(one, two)], dim=-1)


@torch.inference_mode()
def probe(describe: Describe, views: ViewBatches, fitted: Sequence[int], scored: Sequence[int]) -> Figures:
    """Explained share of the variance of held-out points (R²) by view, and the error in cm."""
    features, points, _, _ = _rows(describe, views, fitted)
    read = ridge(features, points)
    features, points, view, thing = _rows(describe, views, scored)
    read_points = read(features)
    found = {}
    for number, camera in enumerate(TABLETOP.cameras):
        for name, chosen in (("all", view == number), ("things", (view == number) & thing)):
            true, told = points[chosen], read_points[chosen]
            rest = (true - told).square().sum() / (true - true.mean(dim=0)).square().sum()
            found[f"r2/{camera}/{name}"] = round(1 - float(rest), 4)
            found[f"cm/{camera}/{name}"] = round(100 * float((true - told).norm(dim=-1).mean()), 3)
    return found


def ridge(features_NF: Tensor, targets_NK: Tensor) -> Callable[[Tensor], Tensor]:
    """Linear regression with an intercept, in float64; features that never change count for nothing."""
    features, targets = features_NF.double(), targets_NK.double()
    mean, offset = features.mean(dim=0), targets.mean(dim=0)
    spread = features.std(dim=0).clamp(min=1e-9)
    normal = (features - mean) / spread
    gram = normal.T @ normal + RIDGE * len(normal) * torch.eye(normal.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, normal.T @ (targets - offset))
    return lambda rows: ((rows.double() - mean) / spread) @ weights + offset


@torch.inference_mode()
def without_looking(describe: Describe, held_out: ViewBatches) -> float:
    """Mean cosine of held-out features to their mean direction at the same place: what L_geo gives to the blind."""
    found = [describe(batch.images_BVHW3) for batch in _chunks(held_out, held_out.moments, "measuring")]
    directions = F.normalize(torch.cat(found), dim=-1)
    return round(float(F.cosine_similarity(directions, directions.mean(dim=0, keepdim=True), dim=-1).mean()), 4)


def _rows(describe: Describe, views: ViewBatches, moments: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, mean points, view and whether a thing is shown, of each patch that shows points in at least half."""
    found: list[tuple[Tensor, ...]] = []
    for batch in _chunks(views, moments, "describing"):
        features = describe(batch.images_BVHW3)
        cells = batch.depths_BVhw.shape[-1] // features.shape[3]
        seen = _pooled((~batch.depths_BVhw.isnan()).float()[..., None], cells)
        points = _pooled(batch.points_BVhw3.nan_to_num(), cells) / seen.clamp(min=1e-9)
        thing = _pooled(batch.off_table_BVhw.float()[..., None], cells)[..., 0] > 0.5
        view = torch.arange(features.shape[1])[None, :, None, None].expand(features.shape[:4])
        chosen = seen[..., 0] >= 0.5
        found.append((features[chosen], points[chosen], view[chosen], thing[chosen]))
    features, points, view, thing = (torch.cat(column) for column in zip(*found, strict=True))
    return features, points, view, thing


def _pooled(maps_BVhwC: Tensor, cells: int) -> Tensor:
    """Means over blocks of cells × cells."""
    means: Tensor = maps_BVhwC.unflatten(3, (-1, cells)).unflatten(2, (-1, cells)).mean(dim=(3, 5))
    return means


def _chunks(views: ViewBatches, moments: Sequence[int], what: str) -> Iterator[ViewBatch]:
    with progress("moment") as display:
        bar = display.add_task(what, total=len(moments))
        for start in range(0, len(moments), CHUNK):
            chosen = moments[start : start + CHUNK]
            yield view_batch(views.views, chosen)
            display.advance(bar, len(chosen))


def _patches(model: Aggregator, grid: tuple[int, int]) -> Describe:
    def describe(images: Tensor) -> Tensor:
        tokens: Tensor = model(images.permute(0, 1, 4, 2, 3).float() / 255)
        patches: Tensor = tokens[:, :, model.special :].unflatten(2, grid)
        return patches

    return describe


def _places(grid: tuple[int, int]) -> Describe:
    """One number for each patch of each view."""

    def describe(images: Tensor) -> Tensor:
        batch, views = images.shape[:2]
        codes = torch.eye(views * grid[0] * grid[1]).view(views, *grid, -1)
        return codes.expand(batch, *codes.shape)

    return describe
