"""The paper's backbone at its true size, with random weights: does the whole road carry it, and in how much memory?

    python benchmarks/qwen3_vl_2b.py FOLDER

Writes ``FOLDER/published``, unless it is there, in the layout of Qwen/Qwen3-VL-2B-Instruct (random bf16 weights, its
token ids), reads it by the path that a training run takes, and does one co-training step of R7 at batch 1: one
demonstration with two 224 px views, student and teacher packed, a made-up geometry target of VGGT's shape, one
question, and all gradients. Backbone in bf16 with gradient checkpointing. The operations of that step and of its rivals
are counted (plain VLA, with questions, with the geometry adapter). Then the policy is saved, loaded and acts.
Needs 9 GB of disk and about 14 GB of memory.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from dataclasses import replace
from functools import partial
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
from thinkvla.files import new_folder
from thinkvla.method.batch import QuestionBatch, RobotBatch
from thinkvla.method.config import MethodConfig
from thinkvla.method.objective import counts, question_sums, robot_sums, weights
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import new_tokens
from thinkvla.preprocessor import Preprocessor, QuestionSample, RobotSample
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
    preprocessor = common.build_preprocessor(method, VIEW, parts.tokenizer, parts.image_processor)
    prompts = preprocessor.prompts
    prepare_tuning(parts.backbone, config, (*prompts.anchor, *prompts.queries))
    return ThinkVLA(parts.backbone, method, tuple(prompts.anchor), tuple(prompts.queries)), preprocessor


def batches(policy: ThinkVLA, preprocessor: Preprocessor) -> tuple[RobotBatch, QuestionBatch]:
    """One demonstration as the policy's method wants it, and one question."""
    rng, method = np.random.default_rng(0), policy.config
    writer = common.build_preprocessor(method, VIEW, preprocessor.tokenizer, preprocessor.image_processor)
    seen = common.observations(preprocessor, 1)[0]
    geometry = rng.normal(size=(2, 37, 37, method.geometry_dim)).astype(np.float32)
    actions = rng.uniform(-1, 1, (method.chunk, 7)).astype(np.float32)
    target = geometry if method.geometry_adapter else None
    robot = writer.robot_batch([RobotSample(seen, actions, np.ones(method.chunk, bool), target)])
    turn = (common.QUESTION, common.ANSWER)
    return robot, writer.question_batch([QuestionSample((seen.images["front"],), (turn,), True)])


def backward(policy: ThinkVLA, robot: RobotBatch, questions: QuestionBatch | None) -> dict[str, float]:
    """Forward and backward of one step; its losses."""
    with torch.autocast("cpu", torch.bfloat16):
        output, scores = policy.train()(robot, questions)
        assert output is not None
        sums, count = robot_sums(output, robot), counts(robot, questions)
        if questions is not None:
            sums |= question_sums(scores, questions)
        terms = {term: value / count[term] for term, value in sums.items()}
        loss = torch.stack([weights(policy.config)[term] * value for term, value in terms.items()]).sum()
    loss.backward()
    return {term: round(value.item(), 4) for term, value in terms.items()}


def step(policy: ThinkVLA, preprocessor: Preprocessor) -> dict[str, Any]:
    """Losses and gradients of one demonstration and one question."""
    robot, questions = batches(policy, preprocessor)
    started = time.perf_counter()
    losses = backward(policy, robot, questions)
    seconds = time.perf_counter() - started
    without = [name for name, p in policy.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    return {
        "seconds": round(seconds, 1),
        "robot_tokens": robot.tokens.ids_BL.shape[1],
        "question_tokens": questions.tokens.ids_BL.shape[1],
        "losses": losses,
        "parameters_without_finite_gradient": without,
    }


def operations(policy: ThinkVLA, preprocessor: Preprocessor) -> dict[str, float]:
    """10¹² floating-point operations of a step's forward and backward, without gradient checkpointing."""
    backbone: Any = policy.backbone
    backbone.model.activation_checkpointing_disable()
    plain = common.without_method(policy.config)
    questioned = replace(plain, qa_data="3d")
    geometry = replace(questioned, geometry_adapter=True)
    found = {}
    for name, method in {"plain": plain, "with questions": questioned, "geometry": geometry, "ours": None}.items():
        rival = policy if method is None else common.over(policy, method)
        robot, questions = batches(rival, preprocessor)
        count = common.operations(partial(backward, rival, robot, None if name == "plain" else questions))
        found[name] = round(count / 1e12, 3)
        policy.zero_grad()
    return found


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
        task = display.add_task("write published layout", total=6)

        def done(stage: str, following: str) -> None:
            gc.collect()
            memory[stage] = peak()
            display.update(task, advance=1, description=following)

        if not (folder / "published").exists():
            write_published(folder / "published")
        done("written", "read it")
        policy, preprocessor = read_policy(folder / "published")
        done("read", "one co-training step")
        measured = step(policy, preprocessor)
        policy.zero_grad()
        done("step", "operations")
        work = operations(policy, preprocessor)
        done("operations", "save")
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
        "tera_operations": work,
        "operations_over_with_questions": round(work["ours"] / work["with questions"], 4),
        "peak_memory_gb_after": memory,
        "largest_action_difference_after_loading": round((after - before).abs().max().item(), 5),
    }
    common.write("qwen3_vl_2b", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
