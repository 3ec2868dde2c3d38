"""Make a backbone from its name, or again from a checkpoint's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.utils import is_flash_attn_2_available

from thinkvla.backbones.lora import LoraConfig
from thinkvla.backbones.published import check_tokenizer, read_config, read_preprocessing, read_weights
from thinkvla.backbones.qwen2_5_vl import Qwen25VL
from thinkvla.backbones.qwen3_vl import Qwen3VL
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.backbones.tiny import tiny_config, tiny_image_processor, tiny_tokenizer
from thinkvla.shipped import TINY_BASE

Attention = Literal["sdpa", "eager", "flash_attention_2", "flex_attention"]

FAMILIES: dict[str, type[QwenVL]] = {"qwen3_vl": Qwen3VL, "qwen2_5_vl": Qwen25VL}
"""Families of vision-language models by the ``model_type`` of their config.json."""


@dataclass(frozen=True)
class BackboneConfig:
    """Which vision-language model, and what of it is trained.

    Attributes:
        name: a Qwen3-VL or Qwen2.5-VL by its hub name or local folder; ``tiny``, the pre-trained one for a laptop that
            ships with the package; or ``tiny_random``, the same without its training.
        attention: implementation of attention. ``flash_attention_2`` takes no block mask, so student and teacher run
            as two forwards there.
        revision: branch, tag or commit of a hub name.
        tune: parameters that are trained, as glob patterns over their names (``language_model.*``,
            ``visual.merger.*``); left out, all of them, or with LoRA nothing beside it. Rows of the method's new tokens
            are always trained.
        lora: low-rank adapters of frozen matrices.
        gradient_checkpointing: compute each block again on the way back instead of keeping its activations: less
            memory, about a third more time, the same gradients.
    """

    name: str = "tiny"
    attention: Attention = "sdpa"
    revision: str | None = None
    tune: tuple[str, ...] | None = None
    lora: LoraConfig = field(default_factory=LoraConfig)
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class BackboneParts:
    """A vision-language model with what prepares its inputs."""

    backbone: QwenVL
    tokenizer: Any
    image_processor: Any


@dataclass(frozen=True)
class BackboneOutline:
    """A vision-language model's configuration, without weights, and what prepares its inputs.

    Attributes:
        config: transformers' configuration, with rows for the method's new tokens.
        attention: implementation of attention.
        tokenizer: with the new tokens.
        image_processor: of the model.
    """

    config: Any
    attention: Attention
    tokenizer: Any
    image_processor: Any

    @property
    def layers(self) -> int:
        """Language layers."""
        return int(self.config.text_config.num_hidden_layers)

    @property
    def blocks(self) -> int:
        """Vision blocks."""
        return int(self.config.vision_config.depth)

    def backbone(self, layers: int | None = None, blocks: int | None = None) -> QwenVL:
        """An untrained backbone in float32, on torch's default device; with other depths where they are given."""
        values = self.config.to_dict()
        text, vision = values["text_config"], values["vision_config"]
        if layers is not None:
            listed = {
                key: value for key, value in text.items() if isinstance(value, list) and len(value) == self.layers
            }
            text |= {key: value[:layers] for key, value in listed.items()} | {"num_hidden_layers": layers}
        if blocks is not None:
            vision["depth"] = blocks
            for key in ("deepstack_visual_indexes", "fullatt_block_indexes"):
                if key in vision:
                    vision[key] = [0]
        return restore_backbone(self.config.model_type, values, self.attention).float()


def outline_backbone(config: BackboneConfig, new_tokens: Sequence[str]) -> BackboneOutline:
    """What :func:`build_backbone` gives, without reading or making its weights; raises ValueError as it does."""
    model, tokenizer, processor = _described(config)
    _add_special(tokenizer, new_tokens)
    text = model.text_config
    text.vocab_size = max(len(tokenizer), text.vocab_size)
    return BackboneOutline(model, config.attention, tokenizer, processor)


def build_backbone(
    config: BackboneConfig, new_tokens: Sequence[str], dtype: torch.dtype = torch.float32
) -> BackboneParts:
    """Load or create the model and give it the method's new tokens.

    New rows of the embedding and of the output head start at the mean of the old rows.

    Args:
        config: which model.
        new_tokens: special tokens that its tokenizer does not have yet.
        dtype: of the weights of a model that is read; training wants float32.

    Raises:
        ValueError: the model cannot be read, is of no family in ``FAMILIES``, or attention is not available.
    """
    described, tokenizer, processor = _described(config)
    if config.name == "tiny_random":
        backbone = _backbone(described, config.attention)
    else:
        attention = _initial_attention(config.attention)
        model = read_weights(_source(config), config.revision, described, attention, dtype)
        backbone = _wrap(model, config.attention)
    add_tokens(backbone.model, tokenizer, new_tokens)
    return BackboneParts(backbone, tokenizer, processor)


def _described(config: BackboneConfig) -> tuple[Any, Any, Any]:
    """Configuration, tokenizer and image processor."""
    if config.name == "tiny_random":
        tokenizer = tiny_tokenizer()
        return tiny_config(tokenizer), tokenizer, tiny_image_processor()
    name = _source(config)
    published = read_config(name, config.revision)
    family = published.model_type
    if family not in FAMILIES:
        raise ValueError(
            f"backbone '{name}' is a {family}; expected one of {', '.join(FAMILIES)}, or 'tiny' or 'tiny_random'"
        )
    tokenizer, processor = read_preprocessing(name, config.revision)
    check_tokenizer(name, tokenizer, published)
    return published, tokenizer, processor


def _source(config: BackboneConfig) -> str:
    return str(TINY_BASE) if config.name == "tiny" else config.name


def restore_backbone(family: str, config: Mapping[str, Any], attention: Attention = "sdpa") -> QwenVL:
    """An untrained backbone of a checkpoint's configuration, ready for its weights.

    Args:
        family: one of ``FAMILIES``.
        config: the model's configuration as transformers writes it.
        attention: implementation of attention.

    Raises:
        ValueError: attention is not available.
    """
    values = {key: value for key, value in config.items() if key != "model_type"}
    return _backbone(AutoConfig.for_model(family, **values), attention)


def add_tokens(model: Any, tokenizer: Any, new_tokens: Sequence[str]) -> None:
    """Add special tokens; their embeddings start at the mean of the tokenizer's old ones."""
    old = len(tokenizer)
    _add_special(tokenizer, new_tokens)
    if len(tokenizer) > model.config.text_config.vocab_size:  # published models have spare rows
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for table in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            table[old : len(tokenizer)] = table[:old].mean(dim=0)


def _add_special(tokenizer: Any, new_tokens: Sequence[str]) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": list(new_tokens)}, replace_extra_special_tokens=False)


def _backbone(config: Any, attention: Attention) -> QwenVL:
    config._attn_implementation = _initial_attention(attention)
    return _wrap(AutoModelForImageTextToText.from_config(config), attention)


def _wrap(model: Any, attention: Attention) -> QwenVL:
    if attention == "flex_attention":  # transformers does not list it for these models; vision stays on sdpa
        language = model.model.language_model
        language._supports_flex_attn = True
        language.set_attn_implementation(attention)
    return FAMILIES[model.config.model_type](model)


def _initial_attention(attention: Attention) -> str:
    """What a model is made with; raises ValueError where ``attention`` is not available."""
    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise ValueError(
            "backbone.attention is flash_attention_2, which needs a CUDA GPU and the package flash-attn; install it, "
            "or choose sdpa"
        )
    return "sdpa" if attention == "flex_attention" else attention
