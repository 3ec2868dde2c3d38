"""A Qwen3-VL small enough for a laptop: the architecture and code path of the large ones, 96 px views.

Its tokenizer is a byte-level BPE, trained on the embedded world's own sentences by
``python -m thinkvla.recipes.tiny_tokenizer``, which wrote the two files beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer, pre_tokenizers
from transformers import Qwen2Tokenizer, Qwen3VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

IMAGE_SIZE = 96
PATCH = 12
SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]


def tiny_tokenizer() -> Qwen2Tokenizer:
    """The shipped tokenizer."""
    folder = files("thinkvla.backbones") / "tiny_tokenizer"
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    return _tokenizer(vocabulary, [line for line in merges if line and not line.startswith("#")])


def train_tokenizer(texts: Iterable[str], size: int, folder: Path) -> Qwen2Tokenizer:
    """Train a byte-level BPE of ``size`` tokens on ``texts``; digits stay single, as in Qwen's."""
    trainer = ByteLevelBPETokenizer()
    digits = pre_tokenizers.Digits(individual_digits=True)
    trainer._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer.train_from_iterator(texts, vocab_size=size, min_frequency=2, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    return _tokenizer(vocabulary, [line for line in lines if line and not line.startswith("#")])


def tiny_image_processor() -> Qwen2VLImageProcessorPil:
    """Qwen's image pipeline at 96 × 96 px, 12 px patches: 8 × 8 patches, 16 language tokens a view."""
    pixels = IMAGE_SIZE * IMAGE_SIZE
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": pixels, "longest_edge": pixels},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def tiny_config(tokenizer: Qwen2Tokenizer) -> Qwen3VLConfig:
    """Vision: 4 blocks of 128; language: 4 layers of 128. Weights start wider than the big models' 0.02,
    which learned more slowly at this width."""
    hidden = 128
    spread = 0.08
    token = tokenizer.convert_tokens_to_ids
    return Qwen3VLConfig(
        vision_config={
            "depth": 4,
            "hidden_act": "gelu",
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": hidden,
            "num_position_embeddings": (IMAGE_SIZE // PATCH) ** 2,
            "deepstack_visual_indexes": [1],
            "initializer_range": spread,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 1024,
            "initializer_range": spread,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [8, 4, 4],
                "mrope_interleaved": True,
            },
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def _tokenizer(vocabulary: dict[str, int], merges: list[str]) -> Qwen2Tokenizer:
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[tuple(line.split(" ")) for line in merges])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS[1:]})
    return tokenizer
