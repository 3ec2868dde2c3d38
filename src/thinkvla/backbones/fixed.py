"""A Qwen-VL's forward pass for fixed shapes: what depends on prompts and sizes of views alone is made once.

A deployed policy repeats one pass with other pixels. Rotary angles, position embeddings of patches and the places of
images in the prompts are kept here, and no shape depends on a tensor's values any more: the pass asks nothing of a
GPU before it is over, and can be compiled or replayed as a CUDA graph. Its numbers are those of ``QwenVL.encode``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.method.batch import Tokens
from thinkvla.method.packing import block_mask
from thinkvla.method.prompts import PAD

Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class VisionPlan:
    """What the vision encoder needs for N patches of views of one size, besides their pixels.

    Attributes:
        height: rows of a view's patch grid.
        width: columns of it.
        offsets_NE: what is added to embedded patches: position embeddings, as the encoder's weights are now.
        rotary: cosines and sines, (N, K) each.
        boundaries: for each block, where views (or windows of them) begin among the patches.
        lengths: the same as numbers of patches.
        order_M: the order in which the encoder puts merge blocks of patches; None if as they come.
        back_M: the inverse of that order.
    """

    height: int
    width: int
    offsets_NE: Tensor
    rotary: Rotary
    boundaries: tuple[Tensor, ...]
    lengths: tuple[tuple[int, ...], ...]
    order_M: Tensor | None
    back_M: Tensor | None


@dataclass(frozen=True)
class TextPlan:
    """What the language model needs for B action prompts, besides their images.

    Attributes:
        ids_BL: token ids.
        places_N: where image tokens stand in the flattened prompts, in the order of the images.
        rotary: cosines and sines, as the family's attention takes them.
        mask: as the attention takes it; None where that is causal by itself. Action prompts need no other mask: they
            hold one suffix, and padding stands on their right.
    """

    ids_BL: Tensor
    places_N: Tensor
    rotary: Rotary
    mask: Any


@torch.no_grad()
def plan_vision(backbone: QwenVL, views: int, height: int, width: int) -> VisionPlan:
    """What the vision encoder makes for this many views of height × width patches, recorded from a run of its own.

    The run embeds every patch as zero, so that its first block is given the position embeddings alone.
    """
    visual: Any = backbone.model.model.visual
    weight = visual.patch_embed.proj.weight
    given: list[dict[str, Any]] = []

    def record(block: Any, inputs: tuple[Tensor], options: dict[str, Any]) -> None:
        given.append({"hidden": inputs[0], **options})

    handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in visual.blocks]
    handles.append(visual.patch_embed.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output)))
    try:
        visual(
            weight.new_zeros(views * height * width, weight[0].numel()),
            grid_thw=torch.tensor([[1, height, width]] * views, device=weight.device),
        )
    finally:
        for handle in handles:
            handle.remove()
    order_M = backbone.block_order(height, width)
    if order_M is not None:
        starts_V1 = torch.arange(views)[:, None] * len(order_M)
        order_M = (starts_V1 + order_M).flatten().to(weight.device)
    boundaries = tuple(options["cu_seqlens"] for options in given)
    return VisionPlan(
        height,
        width,
        given[0]["hidden"],
        given[0]["position_embeddings"],
        boundaries,
        tuple(tuple(starts.diff().tolist()) for starts in boundaries),
        order_M,
        None if order_M is None else order_M.argsort(),
    )


@torch.no_grad()
def plan_text(backbone: QwenVL, tokens: Tokens) -> TextPlan:
    """Places and rotary angles of action prompts; pixels are not looked at."""
    language: Any = backbone.model.model.language_model
    positions_3BL = backbone.positions(tokens.ids_BL, tokens.segments_BL != PAD, tokens.grids_N3)
    is_image_BL = tokens.ids_BL == backbone.model.config.image_token_id
    causal = backbone.attention in ("sdpa", "flash_attention_2")
    return TextPlan(
        tokens.ids_BL,
        is_image_BL.flatten().nonzero()[:, 0],
        language.rotary_emb(language.norm.weight, positions_3BL),
        None if causal else backbone.attention_mask(block_mask(tokens.segments_BL)),
    )


def encode_fixed(
    backbone: QwenVL,
    text: TextPlan,
    vision: VisionPlan,
    pixels_NK: Tensor,
    vision_block: int | None,
    added_NhwE: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Last hidden states (B, L, D), and one vision block's features (views, h, w, E) in raster order.

    ``added_NhwE`` as for ``QwenVL.encode``.
    """
    language: Any = backbone.model.model.language_model
    images_MD, deeper, patches = _see(backbone, vision, pixels_NK, vision_block, added_NhwE)
    embedded_BLD = language.embed_tokens(text.ids_BL)
    hidden_BLD = embedded_BLD.flatten(0, 1).index_copy(0, text.places_N, images_MD).view_as(embedded_BLD)
    for index, layer in enumerate(language.layers):
        hidden_BLD = layer(hidden_BLD, attention_mask=text.mask, position_embeddings=text.rotary, use_cache=False)
        if index < len(deeper):
            hidden_BLD = hidden_BLD.flatten(0, 1).index_add(0, text.places_N, deeper[index]).view_as(hidden_BLD)
    return language.norm(hidden_BLD), patches


def _see(
    backbone: QwenVL, plan: VisionPlan, pixels_NK: Tensor, vision_block: int | None, added_NhwE: Tensor | None
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """Image tokens (M, D), what joins them after the first language layers, and the block's features."""
    visual: Any = backbone.model.model.visual
    tapped: list[int] = list(getattr(visual, "deepstack_visual_indexes", ()))
    hidden_NE: Tensor = visual.patch_embed(pixels_NK)
    if plan.order_M is not None:
        hidden_NE = hidden_NE.view(len(plan.order_M), -1)[plan.order_M].view_as(hidden_NE)
    hidden_NE = hidden_NE + plan.offsets_NE
    deeper: list[Tensor] = []
    patches = None
    for index, block in enumerate(visual.blocks):
        hidden_NE = block(
            hidden_NE,
            cu_seqlens=plan.boundaries[index],
            position_embeddings=plan.rotary,
            lengths=plan.lengths[index],
        )
        if added_NhwE is not None and index == len(visual.blocks) - 1:
            hidden_NE = hidden_NE + backbone.from_raster(added_NhwE)
        if index == vision_block:
            patches = backbone.raster(hidden_NE, plan.height, plan.width)
        if index in tapped:
            deeper.append(visual.deepstack_merger_list[tapped.index(index)](hidden_NE))
    images_MD = visual.merger(hidden_NE)
    return images_MD if plan.back_M is None else images_MD[plan.back_M], deeper, patches
