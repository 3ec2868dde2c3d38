"""How the tiny backbone's tokenizer was made: ``python -m thinkvla.recipes.tiny_tokenizer FOLDER``.

A byte-level BPE of 1000 tokens on the instructions, questions and answers of 400 training scenes of the embedded
world (all its suites), and the prompts of the method and of pre-training. Takes about a minute on one core; needs the
``tabletop`` extra.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from thinkvla.backbones.tiny import train_tokenizer
from thinkvla.method.prompts import ACTION_PROMPT, REASONING_PROMPT
from thinkvla.pretrain.pictures import UNSEEN, WHERE
from thinkvla.tabletop.questions import general_rows, spatial_rows
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.suites import SUITES, suite
from thinkvla.tabletop.world import World

SCENES = 400
SIZE = 1000


def texts() -> Iterator[str]:
    """Every kind of sentence the tiny backbone meets."""
    rng = np.random.default_rng(0)
    yield from ["user", "assistant", ACTION_PROMPT.format(chunk=8), REASONING_PROMPT] * SCENES
    yield from [f"gripper: {UNSEEN}{WHERE}"] * SCENES
    tasks = [task for name in SUITES for task in suite(name)]
    for number, seed in enumerate(seeds("training")[:SCENES]):
        with World(tasks[number % len(tasks)]) as world:
            world.reset(seed)
            state = world.state()
        yield world.scene.instruction
        for camera in ("front", "wrist"):
            for spatial in spatial_rows(state, camera, rng):
                options = [option for option in (spatial.A, spatial.B, spatial.C, spatial.D) if option]
                yield "\n".join([spatial.question, *options, spatial.answer_cot])
            for general in general_rows(state, camera, rng):
                yield f"{general.question}\n{general.answer}"


if __name__ == "__main__":
    train_tokenizer(texts(), SIZE, Path(sys.argv[1]))
