"""Qwen-VL's vision encoder with its images handled as one batch.

transformers attends image after image (in Qwen2.5-VL window after window) in a loop and embeds patches by a
convolution whose kernel is a whole patch. Both are the same numbers as one batched attention and one matrix product,
which are faster for the many small views of a robot.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision


class PatchEmbedding(nn.Module):
    """Embeds flattened patches with the weights of the encoder's convolution."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.proj: nn.Conv3d = original.proj

    def forward(self, patches_NK: Tensor) -> Tensor:
        """(patches, pixels of a patch) → (patches, E)."""
        weight = self.proj.weight
        return F.linear(patches_NK.to(weight.dtype), weight.flatten(1), self.proj.bias)


class ImageAttention(nn.Module):
    """Attention within each image, or window of one, over all that have one size at once."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.qkv: nn.Linear = original.qkv
        self.proj: nn.Linear = original.proj
        self.heads: int = original.num_heads
        self.explicit = original.config._attn_implementation == "eager"

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        lengths: tuple[int, ...] | None = None,
        **unused: Any,
    ) -> Tensor:
        """(patches of all images, E) → the same; ``cu_seqlens`` says where each image, or window, begins.

        ``lengths`` says the same as numbers of patches; they are read from ``cu_seqlens`` where they are not known.
        """
        patches = hidden_states.shape[0]
        queries, keys, values = self.qkv(hidden_states).view(patches, 3, self.heads, -1).unbind(1)
        queries, keys = apply_rotary_pos_emb_vision(queries, keys, *position_embeddings)
        sizes = cu_seqlens.diff().tolist() if lengths is None else list(lengths)
        if len(set(sizes)) == 1:
            mixed = self._attend(queries, keys, values, len(sizes))
        else:
            parts = zip(*(tensor.split(sizes) for tensor in (queries, keys, values)), strict=True)
            mixed = torch.cat([self._attend(q, k, v, images=1) for q, k, v in parts])
        return self.proj(mixed.reshape(patches, -1))  # type: ignore[no-any-return]

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, images: int) -> Tensor:
        """(images · L, heads, K) each → (images · L, heads, K)."""
        q, k, v = (t.view(images, -1, *t.shape[1:]).transpose(1, 2) for t in (queries, keys, values))
        if self.explicit:
            mixed = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).flatten(0, 1)


def batch_images(visual: Any) -> None:
    """Replace patch embedding and attention of a Qwen-VL vision encoder in place; weights and their names stay.

    Flash attention takes images of any length at once already and is left as it is.
    """
    visual.patch_embed = PatchEmbedding(visual.patch_embed)
    if visual.config._attn_implementation in ("eager", "sdpa"):
        for block in visual.blocks:
            block.attn = ImageAttention(block.attn)
