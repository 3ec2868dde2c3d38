"""What of a backbone is trained: all of it, parts by pattern, or low-rank adapters; and with how much memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from thinkvla.backbones.adapters import train_rows
from thinkvla.backbones.build import BackboneConfig
from thinkvla.backbones.lora import add_lora
from thinkvla.backbones.qwen_vl import QwenVL


def prepare_tuning(backbone: QwenVL, config: BackboneConfig, new_ids: Sequence[int]) -> None:
    """Freeze, adapt and checkpoint a backbone as its configuration says, in place.

    Args:
        backbone: a whole one, with the method's new tokens.
        config: its ``tune``, ``lora`` and ``gradient_checkpointing``.
        new_ids: ids of the method's new tokens, one after the other; their rows are trained even in a frozen table.

    Raises:
        ValueError: a pattern matches nothing, or asks to train a matrix that LoRA adapts.
    """
    parameters = _by_name(backbone)
    tuned = _tuned(parameters, config)
    if config.lora.rank:
        for name in add_lora(backbone.model, config.lora):
            if f"{name}.weight" in tuned:
                raise ValueError(
                    f"backbone.tune trains '{name}.weight', which backbone.lora adapts and freezes; take it out of one"
                )
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in tuned)
    if new_ids:
        first, last = min(new_ids), max(new_ids)
        assert sorted(new_ids) == list(range(first, last + 1)), "new tokens stand one after the other"
        train_rows(backbone.model, first, len(new_ids))
    if config.gradient_checkpointing:
        model = backbone.model
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def _by_name(backbone: QwenVL) -> dict[str, nn.Parameter]:
    """Parameters by the names that patterns are written for: ``visual.…``, ``language_model.…``, ``lm_head.weight``."""
    return {name.removeprefix("model."): value for name, value in backbone.model.named_parameters()}


def _tuned(parameters: Mapping[str, nn.Parameter], config: BackboneConfig) -> set[str]:
    """Names of the backbone's own parameters that are trained."""
    everything = ("*",) if config.lora.rank == 0 else ()
    tuned: set[str] = set()
    for pattern in everything if config.tune is None else config.tune:
        found = {name for name in parameters if fnmatchcase(name, pattern)}
        if not found:
            names = list(parameters)
            raise ValueError(
                f"backbone.tune: '{pattern}' matches no parameter of the backbone; there are, for example, "
                f"{names[0]} and {names[-1]}"
            )
        tuned |= found
    return tuned
