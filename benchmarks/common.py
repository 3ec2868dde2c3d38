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
from torch.utils.flop_counter import FlopCounterMode

from thinkvla.backbones.build import add_tokens
from thinkvla.backbones.qwen3_vl import Qwen3VL
from thinkvla.backbones.sizes import qwen3_vl_2b
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

QUESTION = "Which is closer to the camera?"
ANSWER = "The red cube is at (0.12, 0.40, 0.55). The blue ball is at (0.31, 0.22, 0.61). " * 2 + "The answer is A."


def build(size: str, method: MethodConfig, image_size: int = 96, device: str = "cpu") -> tuple[ThinkVLA, Preprocessor]:
    """A random policy of that size; views of ``image_size`` pixels."""
    from transformers import Qwen3VLForConditionalGeneration

    tokenizer, processor = tiny_tokenizer(), tiny_image_processor()
    if size == PUBLISHED:
        processor.patch_size = 16
    processor.size = {"shortest_edge": image_size**2, "longest_edge": image_size**2}
    config = _config(size, tokenizer, (image_size // processor.patch_size) ** 2)
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen3VLForConditionalGeneration._from_config(config)
    add_tokens(model, tokenizer, new_tokens(method))
    preprocessor = build_preprocessor(method, image_size, tokenizer, processor)
    prompts = preprocessor.prompts
    policy = ThinkVLA(Qwen3VL(model), method, tuple(prompts.anchor), tuple(prompts.queries)).to(device)
    return policy, preprocessor


def build_preprocessor(method: MethodConfig, image_size: int, tokenizer: Any, processor: Any) -> Preprocessor:
    """Of a made-up robot with two views of ``image_size`` pixels and actions in [-1, 1]."""
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
    return Preprocessor(embodiment, method, normalizer, tokenizer, processor, ACTION_PROMPT, REASONING_PROMPT)


def _config(size: str, tokenizer: Any, patches: int) -> Any:
    """The architecture of that size with the tokenizer's ids."""
    config: Any = tiny_config(tokenizer)
    if size == PUBLISHED:
        published: Any = qwen3_vl_2b()
        for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
            setattr(published, name, getattr(config, name))
        return published
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
    return config


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


def operations(call: Callable[[], Any]) -> int:
    """Floating-point operations of one call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def over(policy: ThinkVLA, method: MethodConfig) -> ThinkVLA:
    """Another method without anchors over the same backbone."""
    queries = tuple(policy.query_ids.tolist())
    return ThinkVLA(policy.backbone, method, (), queries).to(policy.query_ids.device)


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
