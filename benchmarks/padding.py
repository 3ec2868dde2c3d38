"""Padding in training batches: its share of the tokens, for questions as they come and packed, and for demonstrations.

    python benchmarks/padding.py

Lengths of questions are drawn, not measured: half spatial (an image of 192 tokens, a question with options, a reasoning
of about 180 tokens), half general as in LLaVA's mix (short answers, long answers, text alone up to 2048 tokens). The
tabletop's questions are real, and so are robot prompts with instructions of all its suites and two views of 16 tokens
(the tabletop policy's) or 64 (Qwen3-VL's at 224 px).
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from thinkvla.backbones.tiny import tiny_tokenizer
from thinkvla.data.question_rows import LETTERS, render_question
from thinkvla.method.batch import LENGTH_STEP
from thinkvla.method.config import MethodConfig
from thinkvla.method.prompts import Prompts, new_tokens
from thinkvla.question_packing import pack_rows
from thinkvla.tabletop.questions import general_rows, spatial_rows
from thinkvla.tabletop.suites import SUITES, suite
from thinkvla.tabletop.world import World

BATCHES = 200


def question_lengths(rng: Generator, size: int) -> NDArray[np.int64]:
    """Tokens of ``size`` questions of the mix."""
    spatial = 192 + 45 + rng.normal(180, 70, size).clip(30)
    image = rng.integers(100, 193, size)
    short, long = image + rng.lognormal(4.0, 0.6, size), image + rng.lognormal(5.3, 0.5, size)
    text = rng.lognormal(6.0, 0.8, size)
    kind = rng.random(size)
    general = np.where(kind < 0.6, short, np.where(kind < 0.94, long, text)).clip(10, 2048)
    return np.where(rng.random(size) < 0.5, spatial, general).astype(np.int64)


def tabletop_lengths(prompts: Prompts, scenes: int) -> tuple[list[int], list[int]]:
    """Tokens of all spatial and of all general questions about some scenes of the suite object."""
    rng = np.random.default_rng(0)
    spatial, general = [], []
    with World(suite("object")[0]) as world:
        for seed in range(scenes):
            world.reset(seed=seed)
            state = world.state()
            for row in spatial_rows(state, "front", rng):
                text = render_question(row.question, {letter: getattr(row, letter) for letter in LETTERS})
                spatial.append(len(prompts.conversation([(text, row.answer_cot)], [16], spatial=True).ids))
            for other in general_rows(state, "front", rng):
                general.append(len(prompts.conversation([(other.question, other.answer)], [16]).ids))
    return spatial, general


def padding(rows: list[int]) -> tuple[int, int]:
    """Tokens of padding, and all tokens, of a batch whose rows have these lengths."""
    longest = -(-max(rows) // LENGTH_STEP) * LENGTH_STEP
    return longest * len(rows) - sum(rows), longest * len(rows)


def share(batches: list[list[int]]) -> float:
    """Share of padding over all batches."""
    counted = np.array([padding(rows) for rows in batches])
    return round(float(counted[:, 0].sum() / counted[:, 1].sum()), 3)


def measure() -> dict[str, Any]:
    """Shares of padding by batch size."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for size in (4, 8, 16, 32):
        plain = [question_lengths(rng, size).tolist() for _ in range(BATCHES)]
        rows = [pack_rows(lengths, LENGTH_STEP) for lengths in plain]
        packed = [[sum(lengths[n] for n in row) for row in each] for lengths, each in zip(plain, rows, strict=True)]
        found[f"questions, {size} a batch"] = {
            "plain": share(plain),
            "packed": share(packed),
            "packed, worst batch": max(share([one]) for one in packed),
            "rows, mean": round(float(np.mean([len(each) for each in rows])), 1),
            "longest row over longest question": round(
                float(np.mean([max(b) / max(a) for a, b in zip(plain, packed, strict=True)])), 2
            ),
        }
    config = MethodConfig()
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(new_tokens(config), special_tokens=True)
    prompts = Prompts(tokenizer, config)
    spatial, general = tabletop_lengths(prompts, 40)
    pairs = [[*rng.choice(spatial, 2).tolist(), *rng.choice(general, 2).tolist()] for _ in range(BATCHES)]
    packed = [[sum(each[n] for n in row) for row in pack_rows(each, LENGTH_STEP)] for each in pairs]
    found["tabletop questions, 4 a batch"] = {"plain": share(pairs), "packed": share(packed)}
    instructions = [task.scene(seed).instruction for name in SUITES for task in suite(name) for seed in range(20)]
    for tokens in (16, 64):
        lengths = [len(prompts.co_training(text, [tokens] * 2).ids) for text in instructions]
        drawn = [rng.choice(lengths, 32).tolist() for _ in range(BATCHES)]
        found[f"demonstrations, 32 a batch, {tokens} tokens a view"] = share(drawn)
    return found


if __name__ == "__main__":
    common.write("padding", measure())
