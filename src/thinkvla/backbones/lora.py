"""Low-rank adapters (LoRA) of the backbone's frozen matrices, through peft."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn


@dataclass(frozen=True)
class LoraConfig:
    """LoRA: W + alpha / rank · B A with a frozen W; a saved policy holds the sum.

    Attributes:
        rank: of the adapters; 0 is no LoRA.
        alpha: scale of the adapters, times rank.
        dropout: on the adapters' inputs.
        target: matrices that get an adapter, as glob patterns over the names of the backbone's modules.
    """

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.0
    target: tuple[str, ...] = ("language_model.*_proj",)

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ValueError(f"backbone.lora.rank is {self.rank}; expected 0 (no LoRA) or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"backbone.lora.dropout is {self.dropout}; expected 0 <= p < 1")


def add_lora(model: Any, config: LoraConfig) -> list[str]:
    """Put adapters beside the targeted matrices of a Qwen-VL, in place; every other parameter is frozen.

    Args:
        model: transformers' model; names in ``config.target`` are those inside its ``model``.
        config: rank above 0.

    Returns:
        Names of the adapted modules.

    Raises:
        ValueError: a pattern matches no matrix.
    """
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    matrices = [name for name, module in model.model.named_modules() if isinstance(module, nn.Linear)]
    chosen: set[str] = set()
    for pattern in config.target:
        found = {name for name in matrices if fnmatchcase(name, pattern)}
        if not found:
            raise ValueError(
                f"backbone.lora.target: '{pattern}' matches no matrix of the backbone; there are, for example, "
                f"{matrices[0]} and {matrices[-1]}"
            )
        chosen |= found
    names = sorted(chosen)
    peft_config = PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules="|".join(re.escape(name) for name in names),
    )
    inject_adapter_in_model(peft_config, model.model)
    return names
