"""Our Depth Anything 3 encoder against the public implementation: the same random weights and images, float32.

    OMP_NUM_THREADS=1 python benchmarks/depth_anything_parity.py FOLDER [--full]

FOLDER holds the public package ``depth_anything_3`` (``src`` of github.com/ByteDance-Seed/Depth-Anything-3) and
``einops``. ``--full`` adds the size of DA3-BASE. Also writes the golden file of
``tests/teachers/test_depth_anything.py``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import common
import torch
from parity import SHAPES, differences, shake, write_golden
from torch import Tensor

from thinkvla.teachers.depth_anything import PREFIX, DepthAnythingConfig, DepthAnythingEncoder

TINY = DepthAnythingConfig(image_size=28, patch_size=7, width=16, heads=2, depth=4, alternate_from=2)
SMALL = DepthAnythingConfig(image_size=56, width=384, heads=6, depth=12, alternate_from=4)
FULL_SHAPES = [(1, 2, 16, 16), (1, 1, 37, 28), (1, 1, 36, 36)]
GOLDEN = Path(__file__).parents[1] / "tests" / "teachers" / "golden_depth_anything.safetensors"


def public_model(config: DepthAnythingConfig, folder: Path) -> Any:
    """The public encoder in any size, without its package's other imports."""
    for name in ("depth_anything_3", "depth_anything_3.model"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules.setdefault(name, package)
    vision = importlib.import_module("depth_anything_3.model.dinov2.vision_transformer")
    model = vision.DinoVisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        alt_start=config.alternate_from,
        qknorm_start=config.alternate_from,
        rope_start=config.alternate_from,
    )
    return model.eval()


def compare(
    config: DepthAnythingConfig, shapes: list[tuple[int, int, int, int]], folder: Path
) -> tuple[DepthAnythingEncoder, dict[str, Any]]:
    """Our network with their weights, and the largest difference of the last output per shape of the input."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    theirs = public_model(config, folder)
    shake(theirs, generator)
    ours = DepthAnythingEncoder(config).eval()
    ours.load_state_dict(theirs.state_dict())
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def expected(images: Tensor) -> Tensor:
        normalized = (images - mean) / std
        outputs, _ = theirs.get_intermediate_layers(normalized, [config.depth - 1], ref_view_strategy="first")
        last: Tensor = outputs[0][0]
        return last

    return ours, differences(ours, expected, config.patch_size, shapes, generator)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the public package 'depth_anything_3' lies")
    parser.add_argument("--full", action="store_true", help="the size of DA3-BASE too")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.folder))
    tiny, figures = compare(TINY, SHAPES, arguments.folder)
    write_golden(tiny, TINY.patch_size, PREFIX, GOLDEN)
    results = {"tiny": figures, "small": compare(SMALL, SHAPES, arguments.folder)[1]}
    if arguments.full:
        results["DA3-BASE"] = compare(DepthAnythingConfig(), FULL_SHAPES, arguments.folder)[1]
    common.write("depth_anything_parity", results)
