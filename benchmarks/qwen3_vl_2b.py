"""The paper's backbone at its true size, with random weights: does the whole road carry it, and in how much memory?

    python benchmarks/qwen3_vl_2b.py FOLDER

Writes ``FOLDER/published`` in the layout of Qwen/Qwen3-VL-2B-Instruct (random bf16 weights, its token ids), reads it by
the path that a training run takes, and does one co-training step of R7 at batch 1: one demonstration with two 224 px
views, student and teacher packed, a made-up geometry target of VGGT's shape, one question, and all gradients.
Backbone in bf16 with gradient checkpointing. Then the policy is saved, loaded and acts. Needs 9 GB of disk and about
10 GB of memory.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from transformers import AutoModelForImageTextToText, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from thinkvla.backbones.build import BackboneConfig, build_backbone
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.backbones.sizes import qwen3_vl_2b
from thinkvla.backbones.tuning import prepare_tuning
from thinkvla.checkpoint import load_checkpoint, save_checkpoint
from thinkvla.contract import Embodiment
from thinkvla.files import new_folder
from thinkvla.method.config import MethodConfig
from thinkvla.method.objective import counts, question_sums, robot_sums, weights
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import ACTION_PROMPT, REASONING_PROMPT, new_tokens
from thinkvla.preprocessor import ActionNormalizer, Preprocessor, QuestionSample, RobotSample
from thinkvla.progress import progress

VIEW = 224
ORDINARY = 151643  # tokens before the special ones in Qwen's vocabulary
SPECIAL = (  # in the order of their ids
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>"),
    *("<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
)


def write_published(folder: Path) -> None:
    """A random Qwen3-VL-2B in the published layout; only the words of its tokenizer are others."""
    with new_folder(folder) as partial:
        torch.manual_seed(0)
        model: Any = AutoModelForImageTextToText.from_config(qwen3_vl_2b(), dtype=torch.bfloat16)
        model.save_pretrained(partial, max_shard_size="2GB")
        tokenizer().save_pretrained(partial)
        Qwen2VLImageProcessorPil(
            patch_size=16,
            temporal_patch_size=2,
            merge_size=2,
            size={"shortest_edge": 65536, "longest_edge": 16777216},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ).save_pretrained(partial)


def tokenizer() -> Any:
    """The tiny tokenizer with unused words up to Qwen's size, so that special tokens have their published ids."""
    source = files("thinkvla.backbones") / "tiny_tokenizer"
    vocabulary = json.loads((source / "vocab.json").read_text(encoding="utf-8"))
    lines = (source / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#")]
    unused = {f"<unused {number}>": number for number in range(len(vocabulary), ORDINARY)}
    made: Any = Qwen2Tokenizer(vocab=vocabulary | unused, merges=merges)
    made.add_special_tokens({"additional_special_tokens": list(SPECIAL)}, replace_extra_special_tokens=False)
    return made


def read_policy(folder: Path) -> tuple[ThinkVLA, Preprocessor]:
    """The policy that a run would begin with, its backbone in bf16."""
    method = MethodConfig()
    config = BackboneConfig(str(folder), gradient_checkpointing=True)
    parts = build_backbone(config, new_tokens(method), torch.bfloat16)
    embodiment = Embodiment(
        name="benchmark",
        cameras=("front", "wrist"),
        image_size=(VIEW, VIEW),
        control_hz=10.0,
        action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
        action_units=("",) * 7,
        action_low=(-1.0,) * 7,
        action_high=(1.0,) * 7,
    )
    normalizer = ActionNormalizer("range", (-1.0,) * 7, (1.0,) * 7)
    preprocessor = Preprocessor(
        embodiment, method, normalizer, parts.tokenizer, parts.image_processor, ACTION_PROMPT, REASONING_PROMPT
    )
    prompts = preprocessor.prompts
    prepare_tuning(parts.backbone, config, (*prompts.anchor, *prompts.queries))
    return ThinkVLA(parts.backbone, method, tuple(prompts.anchor), tuple(prompts.queries)), preprocessor


def step(policy: ThinkVLA, preprocessor: Preprocessor) -> dict[str, Any]:
    """Losses and gradients of one demonstration and one question."""
    rng = np.random.default_rng(0)
    method = policy.config
    seen = common.observations(preprocessor, 1)[0]
    geometry = rng.normal(size=(2, 37, 37, method.geometry_dim)).astype(np.float32)
    actions = rng.uniform(-1, 1, (method.chunk, 7)).astype(np.float32)
    robot = preprocessor.robot_batch([RobotSample(seen, actions, np.ones(method.chunk, bool), geometry)])
    question = QuestionSample(
        seen.images["front"], "Which is closer?", "The cube is at (0.1, 0.2). The final answer is A.", True
    )
    questions = preprocessor.question_batch([question])
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        output, scores = policy.train()(robot, questions)
        assert output is not None
        assert scores is not None
        sums = robot_sums(output, robot) | question_sums(scores, questions)
        count = counts(robot, questions)
        terms = {term: value / count[term] for term, value in sums.items()}
        loss = torch.stack([weights(method)[term] * value for term, value in terms.items()]).sum()
    loss.backward()
    seconds = time.perf_counter() - started
    without = [name for name, p in policy.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    return {
        "seconds": round(seconds, 1),
        "robot_tokens": robot.tokens.ids_BL.shape[1],
        "question_tokens": questions.tokens.ids_BL.shape[1],
        "losses": {term: round(value.item(), 4) for term, value in terms.items()},
        "parameters_without_finite_gradient": without,
    }


def sizes(policy: ThinkVLA) -> dict[str, int]:
    """Parameters by part."""
    backbone = policy.backbone
    assert isinstance(backbone, QwenVL)
    parts = {"vision": backbone.model.model.visual, "language": backbone.model.model.language_model}
    parts |= {name: part for name, part in policy.named_children() if name != "backbone"}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def peak() -> float:
    """Largest resident memory of this process so far, GB (mapped weights files included)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)


def main(folder: Path) -> None:
    memory: dict[str, float] = {}
    with progress("stages") as display:
        task = display.add_task("write published layout", total=5)

        def done(stage: str, following: str) -> None:
            gc.collect()
            memory[stage] = peak()
            display.update(task, advance=1, description=following)

        write_published(folder / "published")
        done("written", "read it")
        policy, preprocessor = read_policy(folder / "published")
        done("read", "one co-training step")
        measured = step(policy, preprocessor)
        done("step", "save")
        policy.zero_grad()
        tokens = preprocessor.act_tokens(common.observations(preprocessor, 1))
        with torch.autocast("cpu", torch.bfloat16):
            before = policy.eval().act(tokens)
        parameters = sizes(policy)
        save_checkpoint(folder / "policy", policy, preprocessor)
        del policy
        done("saved", "load and act")
        loaded, _ = load_checkpoint(folder / "policy")
        with torch.autocast("cpu", torch.bfloat16):
            after = loaded.act(tokens)
        done("loaded", "done")
    figures = {
        "parameters": parameters | {"all": sum(parameters.values())},
        "step": measured,
        "peak_memory_gb_after": memory,
        "largest_action_difference_after_loading": round((after - before).abs().max().item(), 5),
    }
    common.write("qwen3_vl_2b", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
