r"""A tiny 3D-thinking policy for one suite of LIBERO, on CPU cores, from demonstrations made with the scripted expert.

    thinkvla env install libero
    thinkvla data generate --benchmark libero_object --output data/libero_object --episodes 20
    thinkvla train libero_small                 # R7, the full method
    thinkvla train libero_small_r1              # the plain VLA, with the same budget

Of another suite, or of several at once: ``--data.episodes``, ``--data.spatial-qa`` and ``--data.general-qa`` name the
folders ``episodes``, ``spatial_qa`` and ``general_qa`` of one ``thinkvla data generate`` or more; the rest is the same.

Cost: 128 000 samples, at about 55 (R7) and 75 (R1) a second on one core of an Intel Xeon with AMX 40 and 30 minutes.

Expected (docs/benchmarks.md): of 200 episodes of libero_object, from layouts that no demonstration had, R7 succeeds in
136 and R1 in 151 (seed 0).

As ``tabletop``, where the method's weights and learning rates were found, but for the data and the number of steps.
Views have 96 px, since that is what the tiny backbone was pre-trained on (8 × 8 patches): 128 px would be reduced to
it, and 144 px (12 × 12 patches) would double the cost of a step. A can is 8 px wide in the front view and fills a fifth
of the wrist view when the hand comes near, which is where the last centimetre is decided. Actions are normalized by
their range, not by the data's extremes: the expert hardly tilts the hand, and those corrections stretched to the size
of the moves would count as much.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thinkvla.recipes.tabletop import tabletop
from thinkvla.train.config import TrainConfig

DATA = Path("data/libero_object")


def libero_small(ablation: str = "R7", data: Path = DATA) -> TrainConfig:
    """A row of the ablation table on the demonstrations in ``data``."""
    config = tabletop(ablation, data)
    return replace(
        config,
        output=Path("runs") / ("libero_small" if ablation == "R7" else f"libero_small_{ablation.lower()}"),
        data=replace(config.data, pack_questions=True),
        steps=4000,
        save_every=500,
    )
