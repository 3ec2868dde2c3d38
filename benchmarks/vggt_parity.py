"""Our VGGT aggregator against the public implementation: the same random weights, the same images, float32.

OMP_NUM_THREADS=1 python benchmarks/vggt_parity.py FOLDER [--full]

FOLDER holds the public package ``vggt`` (github.com/facebookresearch/vggt, or the copy that Spatial-Forcing ships).
``--full`` adds the size of VGGT-1B, which takes 8 GB. Also writes the golden file of ``tests/teachers/test_vggt.py``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

import common
import torch
from parity import SHAPES, differences, shake, write_golden

from thinkvla.teachers.aggregator import Aggregator, AggregatorConfig
from thinkvla.teachers.vggt import PREFIX

TINY = AggregatorConfig(image_size=28, patch_size=7, width=16, heads=2, depth=2, encoder_depth=2, registers=2)
SMALL = AggregatorConfig(image_size=56, width=384, heads=6, depth=3, encoder_depth=12)
FULL_SHAPES = [(1, 2, 16, 16), (1, 1, 37, 28)]
GOLDEN = Path(__file__).parents[1] / "tests" / "teachers" / "golden_vggt.safetensors"


def public_model(config: AggregatorConfig) -> Any:
    """The public aggregator in any size: its encoders by name are those of the DINOv2 family only."""
    aggregator = importlib.import_module("vggt.models.aggregator")
    vision = importlib.import_module("vggt.layers.vision_transformer")
    model = aggregator.Aggregator(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        num_register_tokens=config.registers,
        patch_embed="conv",
    )
    model.patch_embed = vision.DinoVisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.encoder_depth,
        num_heads=config.heads,
        block_fn=partial(vision.Block, attn_class=vision.MemEffAttention),
        num_register_tokens=config.registers,
        init_values=1.0,
        interpolate_antialias=True,
        interpolate_offset=0.0,
        block_chunks=0,
    )
    return model.eval()


def compare(config: AggregatorConfig, shapes: list[tuple[int, int, int, int]]) -> tuple[Aggregator, dict[str, Any]]:
    """Our network with their weights, and the largest difference of the last output per shape of the input."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    theirs = public_model(config)
    shake(theirs, generator)
    state = theirs.state_dict()
    ours = Aggregator(config).eval()
    unused = state.keys() - ours.state_dict().keys()
    ours.load_state_dict({name: value for name, value in state.items() if name not in unused})
    found = differences(ours, lambda images: theirs(images)[0][-1], config.patch_size, shapes, generator)
    return ours, {"only theirs": sorted(unused)} | found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="where the public package 'vggt' lies")
    parser.add_argument("--full", action="store_true", help="the size of VGGT-1B too")
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.folder)
    tiny, figures = compare(TINY, SHAPES)
    write_golden(tiny, TINY.patch_size, PREFIX, GOLDEN)
    results = {"tiny": figures, "small": compare(SMALL, SHAPES)[1]}
    if arguments.full:
        results["VGGT-1B"] = compare(AggregatorConfig(), FULL_SHAPES)[1]
    common.write("vggt_parity", results)
