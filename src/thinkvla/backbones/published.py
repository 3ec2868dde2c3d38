"""Read a vision-language model as it is published: a hub name, or a folder of the same layout.

``config.json``, weights in one or several safetensors files with their index, the tokenizer's files, and
``preprocessor_config.json``. What is missing or broken is one error that says which part of which model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

IMAGE_TOKEN = "<|image_pad|>"  # as the method's prompts write it
BYTES = 256  # tokens that every byte-level tokenizer has


def read_config(name: str, revision: str | None) -> Any:
    """The model's configuration.

    Raises:
        ValueError: there is no such model, or its config.json cannot be read.
    """
    folder = Path(name)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"backbone.revision is '{revision}', but '{name}' is a folder; revisions are of hub names")
    elif folder.is_absolute() or name.startswith(".") or name.count("/") != 1:  # a hub name is OWNER/NAME
        raise ValueError(f"backbone.name: there is no folder '{name}', and the name of a published model is OWNER/NAME")
    with _one_error(name, revision, "config.json"):
        return AutoConfig.from_pretrained(name, revision=revision)


def read_preprocessing(name: str, revision: str | None) -> tuple[Any, Any]:
    """Tokenizer and image processor (torchvision is not needed).

    Raises:
        ValueError: one of them cannot be read.
    """
    with _one_error(name, revision, "the tokenizer (tokenizer.json, or vocab.json and merges.txt)"):
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        if len(tokenizer) < BYTES:  # without its files transformers makes an empty one
            raise ValueError(f"there are only {len(tokenizer)} tokens in what is there")
    with _one_error(name, revision, "preprocessor_config.json"):
        return tokenizer, Qwen2VLImageProcessorPil.from_pretrained(name, revision=revision)


def read_weights(name: str, revision: str | None, config: Any, attention: str, dtype: torch.dtype) -> Any:
    """The model with its published weights, in ``dtype``.

    Raises:
        ValueError: weights cannot be read, or do not fit ``config``. transformers alone would fill gaps at random.
    """
    with _one_error(name, revision, "the weights (model.safetensors, or model.safetensors.index.json and its parts)"):
        model, found = AutoModelForImageTextToText.from_pretrained(
            name,
            revision=revision,
            config=config,
            attn_implementation=attention,
            dtype=dtype,
            output_loading_info=True,
        )
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(f"backbone '{name}': the weights have no '{missing[0]}', which config.json asks for")
    return model


def check_tokenizer(name: str, tokenizer: Any, config: Any) -> None:
    """Raise ValueError unless the tokenizer is the model's: same id of an image token, no id beyond the table."""
    known = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    if known != config.image_token_id:
        raise ValueError(
            f"backbone '{name}': the tokenizer's id of '{IMAGE_TOKEN}' is {known}, but config.json says "
            f"{config.image_token_id}; tokenizer and model do not belong together"
        )
    if len(tokenizer) > config.text_config.vocab_size:
        raise ValueError(
            f"backbone '{name}': the tokenizer has {len(tokenizer)} tokens, but the model's table only "
            f"{config.text_config.vocab_size} rows; tokenizer and model do not belong together"
        )


@contextmanager
def _one_error(name: str, revision: str | None, part: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        at = f" at revision '{revision}'" if revision is not None else ""
        where = "the folder" if Path(name).is_dir() else f"no folder of that name, and from the hub{at}"
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"backbone.name '{name}' ({where}): cannot read {part}: {reason}") from error
