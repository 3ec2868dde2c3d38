"""AdamW with parameter groups, and a learning rate that is a function of the step alone."""

from __future__ import annotations

import math
from typing import Any

import torch

from thinkvla.method.policy import ThinkVLA
from thinkvla.train.config import OptimizerConfig


def build_optimizer(policy: ThinkVLA, config: OptimizerConfig) -> torch.optim.AdamW:
    """Three groups: backbone, action head, everything else; each remembers its peak learning rate."""
    groups: dict[str, list[torch.nn.Parameter]] = {"backbone": [], "action_head": [], "adapters": []}
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            room = name.split(".", 1)[0]
            groups[room if room in groups else "adapters"].append(parameter)
    peaks = {"backbone": config.backbone_lr, "action_head": config.head_lr, "adapters": config.adapter_lr}
    return torch.optim.AdamW(
        [{"params": groups[name], "lr": peaks[name], "peak": peaks[name]} for name in groups if groups[name]],
        betas=config.betas,
        weight_decay=config.weight_decay,
    )


def learning_rate(step: int, steps: int, peak: float, config: OptimizerConfig) -> float:
    """Learning rate of optimizer step ``step`` (0-based): linear warm-up, then cosine from ``peak`` to the floor.

    A peak below the floor stays where it is.
    """
    warmup = config.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    floor = min(config.floor_lr, peak)
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizer: Any, step: int, steps: int, config: OptimizerConfig) -> float:
    """Set every group's learning rate for ``step``; returns the largest."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, steps, group["peak"], config)
    return max(float(group["lr"]) for group in optimizer.param_groups)
