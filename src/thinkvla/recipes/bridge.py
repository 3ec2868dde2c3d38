r"""Bridge V2 on a WidowX, for the four tasks of SimplerEnv that the paper reports.

    thinkvla train bridge --dry-run             # parameters, memory, steps an epoch
    accelerate launch --num_processes 8 -m thinkvla train bridge --data.teacher-weights VGGT

Expected (paper): carrot 75.0 %, eggplant 95.8 %, spoon 87.5 % and stack 33.3 % of 24 episodes each, 72.9 % in all. Not
measured with this code yet. Cost: the paper's hardware is 8 A100 of 80 GB; it gives no time.

Said by the paper, besides what ``thinkvla.recipes.libero`` lists: one view, chunks of 16, normalization by the 1 % and
99 % quantiles. Left open: 100 000 steps are those of starVLA's recipe for Bridge (examples/SimplerEnv there); all else
as for LIBERO.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thinkvla.recipes.libero import libero
from thinkvla.train.config import TrainConfig


def bridge() -> TrainConfig:
    """The full method on Bridge V2."""
    config = libero()
    return replace(
        config,
        output=Path("runs/bridge"),
        data=replace(config.data, episodes=("hf://IPEC-COMMUNITY/bridge_orig_lerobot",), embodiments=("bridge",)),
        method=replace(config.method, chunk=16),
        steps=100_000,
    )
