"""Small random models in the layout that Qwen publishes: old-style config.json, sharded bf16 weights, spare rows."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from thinkvla.backbones.tiny import tiny_tokenizer

SPARE = 40
_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "initializer_range": 0.08,
    "rope_theta": 10000.0,
}
_VISION = {
    "depth": 3,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_heads": 4,
    "out_hidden_size": 64,
    "patch_size": 12,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "initializer_range": 0.08,
}


def write_published(folder: Path, family: str, *, tied: bool = True) -> dict[str, torch.Tensor]:
    """Write ``folder``; returns the published weights by transformers' present names."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer) + SPARE
    config = {"qwen3_vl": _qwen3, "qwen2_5_vl": _qwen2_5}[family](rows, tied)
    for name in ("image_pad", "video_pad", "vision_start", "vision_end"):
        key = {"image_pad": "image_token_id", "video_pad": "video_token_id"}.get(name, f"{name}_token_id")
        config[key] = tokenizer.convert_tokens_to_ids(f"<|{name}|>")
    (folder / "config.json").write_text(json.dumps(config, indent=2))

    torch.manual_seed(3)
    values = {key: value for key, value in config.items() if key != "model_type"}
    model: Any = AutoModelForImageTextToText.from_config(AutoConfig.for_model(family, **values)).to(torch.bfloat16)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if tied:
        del weights["lm_head.weight"]
    stored = weights
    if family == "qwen2_5_vl":  # published before transformers moved the two parts into ``model``
        stored = {_old_name(name): tensor for name, tensor in weights.items()}
    _write_shards(folder, stored)

    tokenizer.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((files("thinkvla.backbones") / "tiny_tokenizer" / name).read_bytes())
    (folder / "chat_template.json").write_text('{"chat_template": "{{ messages }}"}')
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.7}')
    (folder / "preprocessor_config.json").write_text(json.dumps(_preprocessor(family)))
    (folder / "video_preprocessor_config.json").write_text(json.dumps(_preprocessor(family)))
    return weights


def _qwen3(rows: int, tied: bool) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "tie_word_embeddings": tied,
        "text_config": _TEXT
        | {
            "model_type": "qwen3_vl_text",
            "dtype": "bfloat16",
            "head_dim": 16,
            "vocab_size": rows,
            "tie_word_embeddings": tied,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
        },
        "vision_config": _VISION
        | {
            "model_type": "qwen3_vl",
            "hidden_act": "gelu_pytorch_tanh",
            "deepstack_visual_indexes": [1],
            "in_channels": 3,
            "num_position_embeddings": 64,
        },
    }


def _qwen2_5(rows: int, tied: bool) -> dict[str, Any]:
    """Text fields at the top; windows of 3 × 3 blocks, so that a 4 × 4 image ends in smaller ones."""
    return _TEXT | {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "torch_dtype": "bfloat16",
        "vocab_size": rows,
        "tie_word_embeddings": tied,
        "use_sliding_window": False,
        "sliding_window": 32768,
        "max_window_layers": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": _VISION
        | {
            "hidden_act": "silu",
            "in_chans": 3,
            "spatial_patch_size": 12,
            "tokens_per_second": 2,
            "window_size": 3 * 12 * 2,
            "fullatt_block_indexes": [2],
        },
    }


def _old_name(name: str) -> str:
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def _preprocessor(family: str) -> dict[str, Any]:
    common: dict[str, Any] = {"patch_size": 12, "temporal_patch_size": 2, "merge_size": 2}
    common |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if family == "qwen3_vl":
        size = {"longest_edge": 96 * 96, "shortest_edge": 96 * 96}
        kinds = {"processor_class": "Qwen3VLProcessor", "image_processor_type": "Qwen2VLImageProcessorFast"}
        return common | kinds | {"size": size}
    kinds = {"processor_class": "Qwen2_5_VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"}
    return common | kinds | {"min_pixels": 96 * 96, "max_pixels": 96 * 96}


def _write_shards(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    names = sorted(weights)
    half = len(names) // 2
    index: dict[str, dict[str, Any]] = {
        "metadata": {"total_size": sum(t.numel() * 2 for t in weights.values())},
        "weight_map": {},
    }
    for number, part in enumerate((names[:half], names[half:]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name].contiguous() for name in part}, folder / file, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
