"""What the benchmarks share: a mid-sized random policy, batches for it, timing and dated results."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thinkvla.backbones.build import add_tokens
from thinkvla.backbones.qwen3_vl import Qwen3VL
from thinkvla.backbones.tiny import tiny_config, tiny_image_processor, tiny_tokenizer
from thinkvla.contract import Embodiment, Observation
from thinkvla.method.config import MethodConfig
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import ACTION_PROMPT, REASONING_PROMPT, new_tokens
from thinkvla.preprocessor import ActionNormalizer, Preprocessor
from thinkvla.versions import versions

RESULTS = Path(__file__).parent / "results"
PUBLISHED = "2b"  # Qwen3-VL-2B's architecture
SIZES = {"tiny": (128, 4, 128, 4), "26M": (256, 8, 384, 8)}  # vision width and depth, language width and depth


def build(size: str, method: MethodConfig, image_size: int = 96, device: str = "cpu") -> tuple[ThinkVLA, Preprocessor]:
    """A random policy of that size; views of ``image_size`` pixels."""
    from transformers import Qwen3VLForConditionalGeneration

    tokenizer, processor = tiny_tokenizer(), tiny_image_processor()
    if size == PUBLISHED:
        processor.patch_size = 16
    processor.size = {"shortest_edge": image_size**2, "longest_edge": image_size**2}
    config: Any = tiny_config(tokenizer)
    _resize(config, size, (image_size // processor.patch_size) ** 2)
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen3VLForConditionalGeneration._from_config(config)
    add_tokens(model, tokenizer, new_tokens(method))
    embodiment = Embodiment(
        name="benchmark",
        cameras=("front", "wrist"),
        image_size=(image_size, image_size),
        control_hz=10.0,
        action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
        action_units=("",) * 7,
        action_low=(-1.0,) * 7,
        action_high=(1.0,) * 7,
    )
    normalizer = ActionNormalizer("range", (-1.0,) * 7, (1.0,) * 7)
    preprocessor = Preprocessor(embodiment, method, normalizer, tokenizer, processor, ACTION_PROMPT, REASONING_PROMPT)
    prompts = preprocessor.prompts
    policy = ThinkVLA(Qwen3VL(model), method, tuple(prompts.anchor), tuple(prompts.queries)).to(device)
    return policy, preprocessor


def _resize(config: Any, size: str, patches: int) -> None:
    if size == PUBLISHED:
        config.vision_config.update(
            {
                "depth": 24,
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_heads": 16,
                "patch_size": 16,
                "out_hidden_size": 2048,
                "num_position_embeddings": 2304,
                "deepstack_visual_indexes": [5, 11, 17],
                "initializer_range": 0.02,
            }
        )
        config.text_config.update(
            {
                "vocab_size": 151936,
                "hidden_size": 2048,
                "intermediate_size": 6144,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "initializer_range": 0.02,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 5e6,
                    "mrope_section": [24, 20, 20],
                    "mrope_interleaved": True,
                },
            }
        )
        return
    vision, vision_depth, language, language_depth = SIZES[size]
    heads = language // 32
    config.vision_config.update(
        {
            "hidden_size": vision,
            "depth": vision_depth,
            "intermediate_size": 4 * vision,
            "out_hidden_size": language,
            "num_position_embeddings": patches,
        }
    )
    config.text_config.update(
        {
            "hidden_size": language,
            "num_hidden_layers": language_depth,
            "intermediate_size": 3 * language,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
        }
    )


def observations(preprocessor: Preprocessor, count: int) -> list[Observation]:
    """Random views with an instruction."""
    rng = np.random.default_rng(0)
    shape = (*preprocessor.embodiment.image_size, 3)
    cameras = preprocessor.embodiment.cameras
    return [
        Observation({c: rng.integers(0, 256, shape, dtype=np.uint8) for c in cameras}, "put the red cube on the plate")
        for _ in range(count)
    ]


def without_method(method: MethodConfig) -> MethodConfig:
    """The plain VLA: row R1."""
    return replace(method, qa_data="none", geometry_adapter=False, reasoning_adapter=False, reasoning_anchor=False)


def alternate(rivals: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, rivals in turn so that both meet the same machine; two calls of each are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(rounds + 2):
        for name, call in rivals.items():
            started = time.perf_counter()
            call()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Median over the rounds of ours / theirs."""
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))


def write(name: str, values: dict[str, Any]) -> None:
    """Print the figures and keep them as ``results/NAME.json``, with date, versions and threads."""
    record = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "threads": torch.get_num_threads()}
    record |= values | {"versions": versions()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in record.items() if key != "versions"}, indent=2))
