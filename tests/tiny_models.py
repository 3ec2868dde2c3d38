"""Small random models and batches for the tests of the method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration

from thinkvla.backbones.build import Attention, BackboneConfig, build_backbone
from thinkvla.backbones.tiny import tiny_config, tiny_image_processor, tiny_tokenizer
from thinkvla.contract import Embodiment, Observation
from thinkvla.method.batch import QuestionBatch, RobotBatch
from thinkvla.method.config import MethodConfig
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import ACTION_PROMPT, REASONING_PROMPT, new_tokens
from thinkvla.preprocessor import ActionNormalizer, Preprocessor, QuestionSample, RobotSample

SMALL = MethodConfig(vision_block=2, geometry_dim=24, branch_dropout=0.0)
EMBODIMENT = Embodiment(
    name="test_arm",
    cameras=("front", "wrist"),
    image_size=(96, 96),
    control_hz=10.0,
    action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
    action_units=("0.05 m",) * 3 + ("0.5 rad",) * 3 + ("open −1, close 1",),
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
)
INSTRUCTIONS = [
    "put the red cube on the plate",
    "lift it",
    "push the small green ball to the left of the bowl",
]


def build(
    config: MethodConfig = SMALL,
    attention: Attention = "sdpa",
    seed: int = 0,
    name: str = "tiny_random",
    embodiment: Embodiment = EMBODIMENT,
) -> tuple[ThinkVLA, Preprocessor]:
    torch.manual_seed(seed)
    parts = build_backbone(BackboneConfig(name, attention), new_tokens(config))
    normalizer = ActionNormalizer("min_max", (-1.0,) * 7, (1.0,) * 7)
    preprocessor = Preprocessor(
        embodiment,
        config,
        normalizer,
        parts.tokenizer,
        parts.image_processor,
        ACTION_PROMPT,
        REASONING_PROMPT,
    )
    prompts = preprocessor.prompts
    policy = ThinkVLA(parts.backbone, config, tuple(prompts.anchor), tuple(prompts.queries))
    return policy, preprocessor


def write_smallest_backbone(folder: Path) -> None:
    """A random Qwen3-VL of 0.2 M parameters, two layers of each kind, laid out as a published one."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config: Any = tiny_config(tokenizer)
    config.vision_config.update(
        {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "deepstack_visual_indexes": [0],
        }
    )
    config.text_config.update(
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "rope_parameters": {**config.text_config.rope_parameters, "mrope_section": [4, 2, 2]},
        }
    )
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tiny_image_processor().save_pretrained(folder)


def observation(instruction: str, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    images = {name: rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for name in EMBODIMENT.cameras}
    return Observation(images, instruction)


def robot_batch(preprocessor: Preprocessor, config: MethodConfig = SMALL, size: int = 3) -> RobotBatch:
    """Instructions of different lengths, so that there is padding; the last chunk ends early."""
    rng = np.random.default_rng(7)
    samples = []
    for i in range(size):
        valid = np.arange(config.chunk) < (config.chunk if i < size - 1 else config.chunk // 2)
        geometry = rng.normal(size=(2, 6, 6, config.geometry_dim)).astype(np.float32)
        samples.append(
            RobotSample(
                observation(INSTRUCTIONS[i % 3], seed=i),
                rng.uniform(-1, 1, (config.chunk, 7)).astype(np.float32),
                valid,
                geometry if config.geometry_adapter else None,
            )
        )
    return preprocessor.robot_batch(samples)


def question_batch(preprocessor: Preprocessor) -> QuestionBatch:
    rng = np.random.default_rng(11)
    image: Any = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    return preprocessor.question_batch(
        [
            QuestionSample(
                (image,),
                (("Which is closer?", "The cube is at (0.1, 0.2). Therefore, the final answer is A."),),
                True,
            ),
            QuestionSample((image,), (("What colour is the ball?", "red"),), False),
            QuestionSample((), (("Say yes.", "yes"),), False),
        ]
    )


def with_switches(**switches: Any) -> MethodConfig:
    return replace(SMALL, **switches)
