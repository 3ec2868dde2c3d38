r"""LIBERO as the paper reports it: one policy for the four suites, and the rows R1 to R7 of its ablation table.

    thinkvla train libero --dry-run             # parameters, memory, steps an epoch
    accelerate launch --num_processes 8 -m thinkvla train libero --data.teacher-weights VGGT
    accelerate launch --num_processes 8 -m thinkvla train libero_r1

Expected (paper): the full method, R7, succeeds in 98.7 % of the episodes of the four suites, a plain VLA, R1, in
95.8 %. Not measured with this code yet. Cost: the paper's hardware is 8 A100 of 80 GB; it gives no time.

Said by the paper: Qwen3-VL-2B; 224 px views, third person and wrist, no proprioception; min-max normalization, the
gripper raw; chunks of 8; AdamW with β (0.9, 0.95) and weight decay 1e-8; learning rates 1e-5 (backbone), 2e-4 (action
head), 2.5e-5 (all else), cosine to 1e-6; gradients clipped at 1; bf16, the head in float32; loss weights 0.5, 0.5 and
0.1; 24 000 SpatialReasoner and 24 000 LLaVA rows.

Left open by the paper:

- batch of 32: taken as of all processes, 4 each on 8 GPUs;
- questions a step: as many as demonstrations, half of them spatial, since both sets are of one size;
- 80 000 steps, 5000 of warm-up: starVLA's LIBERO recipe (examples/LIBERO there), from which the optimizer is too;
- vision block 17 (the 18th), one anchor token, branch dropout 0.1, patches joined by their mean, fusion by addition;
- teacher: VGGT's last aggregator layer at 518 px, the views of a time step as one scene;
- prompt texts: ``thinkvla.method.prompts``.

Weights of VGGT and the question sets are fetched by hand, once; docs/data.md says from where and under which licences.
"""

from __future__ import annotations

from pathlib import Path

from thinkvla.ablations import ABLATIONS
from thinkvla.backbones.build import BackboneConfig
from thinkvla.method.config import MethodConfig
from thinkvla.train.config import DataConfig, OptimizerConfig, TrainConfig

SUITES = ("spatial", "object", "goal", "10")
QUESTIONS = Path("data")
VGGT = Path("data/vggt")


def libero(ablation: str = "R7") -> TrainConfig:
    """A row of the ablation table on the demonstrations of all four suites."""
    qa_data, geometry, reasoning, anchor = ABLATIONS[ablation]
    method = MethodConfig(
        qa_data=qa_data, geometry_adapter=geometry, reasoning_adapter=reasoning, reasoning_anchor=anchor
    )
    return TrainConfig(
        output=Path("runs") / ("libero" if ablation == "R7" else f"libero_{ablation.lower()}"),
        data=DataConfig(
            episodes=tuple(f"hf://IPEC-COMMUNITY/libero_{suite}_no_noops_1.0.0_lerobot" for suite in SUITES),
            embodiments=("libero",),
            spatial_qa=(str(QUESTIONS / "spatial_reasoner"),),
            general_qa=(str(QUESTIONS / "llava"),),
            teacher="vggt",
            teacher_weights=VGGT,
            workers=4,
        ),
        method=method,
        backbone=BackboneConfig("Qwen/Qwen3-VL-2B-Instruct"),
        optimizer=OptimizerConfig(),
        steps=80_000,
        batch_size=4,
        question_batch_size=4,
        precision="bf16",
        save_every=5000,
    )
