"""The vision encoder on the views of a training batch: images as one batch, against transformers' loop over images.

    OMP_NUM_THREADS=1 python benchmarks/vision_encoder.py

Forward and backward of the tiny encoder on 64 views of 96 px, in float32 and with bf16 matrix products. With those the
rival keeps its scaled-dot-product kernels, and ours uses explicit attention, as the tabletop recipe does.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import common
import torch
from transformers import Qwen3VLForConditionalGeneration

from thinkvla.backbones.tiny import tiny_config, tiny_tokenizer
from thinkvla.backbones.vision import batch_images

VIEWS, ROUNDS = 64, 12


def encoder(attention: str) -> Any:
    """A random encoder of the tiny backbone."""
    config = tiny_config(tiny_tokenizer())
    config._attn_implementation = attention
    torch.manual_seed(0)
    return Qwen3VLForConditionalGeneration._from_config(config).model.visual


def measure(precision: str, attention: str) -> dict[str, Any]:
    """Seconds of both, and ours over theirs."""
    torch.set_float32_matmul_precision(precision)
    theirs = encoder("sdpa")
    ours = encoder(attention)
    batch_images(ours)
    pixels, grids = torch.randn(VIEWS * 64, 3 * 2 * 12 * 12), torch.tensor([[1, 8, 8]] * VIEWS)

    def step(model: Any) -> None:
        model.zero_grad()
        model(pixels, grids).pooler_output.square().mean().backward()

    seconds = common.alternate({"batched": partial(step, ours), "transformers": partial(step, theirs)}, ROUNDS)
    return {
        "views": VIEWS,
        "rounds": ROUNDS,
        "median_seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "batched_over_transformers": round(common.median_ratio(seconds, "batched", "transformers"), 3),
    }


if __name__ == "__main__":
    common.write("vision_encoder", {"float32": measure("highest", "sdpa"), "bf16_matmul": measure("medium", "eager")})
