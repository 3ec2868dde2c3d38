"""Which form a cached feature should have: bytes of a patch, and how far the cosine to the original falls.

    OMP_NUM_THREADS=1 python benchmarks/feature_codes.py FOLDER/views FOLDER/run/vggt_tiny

FOLDER is that of ``python -m thinkvla.recipes.vggt_tiny``: its views, and the teacher that learned from them. Principal
components are fitted on half of the moments; all forms are judged on the other half. Also: how far features read in a
random window of a whole view are from those of the cropped view.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from thinkvla.crops import cropped, random_windows
from thinkvla.method.geometry import cosine_distance, resize_targets
from thinkvla.pretrain.views import read_views
from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.teachers.rows import from_rows, to_rows
from thinkvla.teachers.simulator import SimulatorTeacher
from thinkvla.teachers.vggt import VggtTeacher

MOMENTS = 128
LARGEST_E4M3 = 448.0

Form = Callable[[Tensor], Tensor]


def int8(rows: Tensor) -> Tensor:
    return torch.from_numpy(from_rows(to_rows(rows.numpy())))


def float8(rows: Tensor) -> Tensor:
    """e4m3 with a scale for each row, so that its largest number is the format's."""
    scale = rows.abs().amax(-1, keepdim=True).clamp(min=1e-30) / LARGEST_E4M3
    return (rows / scale).to(torch.float8_e4m3fn).float() * scale


def components(fitted: Tensor, kept: int) -> Form:
    """Principal components of some features, their coefficients in float16."""
    mean = fitted.mean(dim=0)
    _, _, basis = torch.linalg.svd(fitted - mean, full_matrices=False)
    basis = basis[:kept]
    return lambda rows: ((rows - mean) @ basis.T).half().float() @ basis + mean


def judge(features: Tensor) -> dict[str, Any]:
    """Every form on the (moments, views, h, w, D) features of one teacher."""
    half = len(features) // 2
    fitted, rows = features[:half].flatten(0, 3), features[half:].flatten(0, 3)
    size = rows.shape[-1]
    forms: dict[str, tuple[float, Form]] = {
        "float16": (2 * size, lambda x: x.half().float()),
        "int8, a scale a row": (size + 4, int8),
        "float8 e4m3, a scale a row": (size + 4, float8),
        "PCA, D / 2 in float16": (size, components(fitted, size // 2)),
        "PCA, D / 4 in float16": (size / 2, components(fitted, size // 4)),
    }
    # What differs between moments at one place is what a policy can learn from.
    varied = (features[half:] - features[half:].mean(dim=0, keepdim=True)).square().sum()
    found: dict[str, Any] = {"size": size, "rows": len(rows)}
    for name, (stored, form) in forms.items():
        restored = form(rows)
        distance = 1 - F.cosine_similarity(rows.double(), restored.double(), dim=-1)
        found[name] = {
            "bytes": stored,
            "mean 1 - cos": float(f"{distance.mean():.3g}"),
            "largest 1 - cos": float(f"{distance.max():.3g}"),
            "error / variation at a place": float(f"{(rows - restored).square().sum() / varied:.3g}"),
        }
    return found


def judge_crops(teacher: GeometryTeacher, images: Tensor, area: float = 0.9) -> dict[str, float]:
    """Features of whole views read in windows, beside those of the cropped views themselves: 1 − cos.

    To compare: the same distance between a view's own features and those of the next moment, at one place.
    """
    views = images.shape[1]
    windows = np.stack([random_windows(area, views, (moment,)) for moment in range(len(images))])
    crops = [[cropped(v.numpy(), w) for v, w in zip(*pair, strict=True)] for pair in zip(images, windows, strict=True)]
    whole, own = teacher.features(images), teacher.features(torch.from_numpy(np.array(crops)))
    read = resize_targets(whole, own.shape[2], own.shape[3], torch.from_numpy(windows))
    return {
        "area": area,
        "mean 1 - cos": float(f"{cosine_distance(own, read).mean():.3g}"),
        "mean 1 - cos of another moment": float(f"{cosine_distance(whole[1:], whole[:-1]).mean():.3g}"),
    }


def main(folder: Path, weights: Path) -> None:
    views = read_views(folder)
    moments = slice(0, len(views.images), max(1, len(views.images) // MOMENTS))
    images, points = (torch.from_numpy(values[moments].copy()) for values in (views.images, views.points))
    vggt: GeometryTeacher = VggtTeacher(weights, (images.shape[2], images.shape[3]))
    # Where a ray hits nothing the simulator's data sets have a point far away; a hole would have no code.
    found: dict[str, dict[str, Any]] = {
        "simulator": judge(SimulatorTeacher().features(points.float().nan_to_num(3.0))),
        "vggt_tiny": judge(vggt.features(images)),
    }
    found["vggt_tiny"]["crops"] = judge_crops(vggt, images)
    common.write("feature_codes", found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("views", type=Path)
    parser.add_argument("weights", type=Path)
    arguments = parser.parse_args()
    main(arguments.views, arguments.weights)
