"""Make a backbone from its name, or again from a checkpoint's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoTokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from thinkvla.backbones.qwen3_vl import Qwen3VL
from thinkvla.backbones.tiny import tiny_config, tiny_image_processor, tiny_tokenizer
from thinkvla.shipped import TINY_BASE

Attention = Literal["sdpa", "eager"]
FAMILY = "qwen3_vl"


@dataclass(frozen=True)
class BackboneConfig:
    """Which vision-language model.

    Attributes:
        name: a Qwen3-VL by its hub name or local folder; ``tiny``, the pre-trained one for a laptop that ships with the
            package; or ``tiny_random``, the same without its training.
        attention: implementation of attention.
    """

    name: str = "tiny"
    attention: Attention = "sdpa"


@dataclass(frozen=True)
class BackboneParts:
    """A vision-language model with what prepares its inputs."""

    backbone: Qwen3VL
    tokenizer: Any
    image_processor: Any


def build_backbone(config: BackboneConfig, new_tokens: Sequence[str]) -> BackboneParts:
    """Load or create the model and give it the method's new tokens.

    New rows of the embedding (and the tied output head) start at the mean of the old rows.

    Raises:
        ValueError: the model is not a Qwen3-VL.
    """
    if config.name == "tiny_random":
        tokenizer, processor = tiny_tokenizer(), tiny_image_processor()
        model = _from_config(tiny_config(tokenizer), config.attention)
    else:
        name = str(TINY_BASE) if config.name == "tiny" else config.name
        family = AutoConfig.from_pretrained(name).model_type
        if family != FAMILY:
            raise ValueError(f"backbone '{name}' is a {family}; expected {FAMILY}, or 'tiny' or 'tiny_random'")
        tokenizer = AutoTokenizer.from_pretrained(name)
        processor = Qwen2VLImageProcessorPil.from_pretrained(name)
        model = Qwen3VLForConditionalGeneration.from_pretrained(
            name, attn_implementation=config.attention, dtype=torch.float32
        )
    add_tokens(model, tokenizer, new_tokens)
    return BackboneParts(Qwen3VL(model), tokenizer, processor)


def restore_backbone(config: dict[str, Any], attention: Attention = "sdpa") -> Qwen3VL:
    """An untrained backbone of a checkpoint's configuration, ready for its weights."""
    return Qwen3VL(_from_config(Qwen3VLConfig(**config), attention))


def add_tokens(model: Qwen3VLForConditionalGeneration, tokenizer: Any, new_tokens: Sequence[str]) -> None:
    """Add special tokens; their embeddings start at the mean of the tokenizer's old ones."""
    old = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": list(new_tokens)}, replace_extra_special_tokens=False)
    if len(tokenizer) > model.config.text_config.vocab_size:  # published models have spare rows
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for table in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            table[old : len(tokenizer)] = table[:old].mean(dim=0)


def _from_config(config: Qwen3VLConfig, attention: Attention) -> Qwen3VLForConditionalGeneration:
    config._attn_implementation = attention
    model: Qwen3VLForConditionalGeneration = Qwen3VLForConditionalGeneration._from_config(config)
    return model
