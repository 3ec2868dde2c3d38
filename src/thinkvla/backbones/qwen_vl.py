"""Qwen's vision-language models from transformers behind the method's ``Backbone`` protocol.

What the families share; ``qwen3_vl`` and ``qwen2_5_vl`` hold what they do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from thinkvla.backbones.vision import batch_images
from thinkvla.method.batch import Tokens
from thinkvla.method.prompts import PAD

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


class QwenVL(nn.Module, ABC):
    """Runs a Qwen-VL with a mask and positions of the method's choosing.

    Args:
        model: transformers' ``ForConditionalGeneration`` of the family; its embeddings already hold the method's new
            tokens.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        batch_images(model.model.visual)
        self.model = model
        config = model.config
        self.hidden_size: int = config.text_config.hidden_size
        self.vision_size: int = config.vision_config.hidden_size
        self.vision_blocks: int = config.vision_config.depth
        self.merge: int = config.vision_config.spatial_merge_size
        self.blockwise: bool = self.attention != "flash_attention_2"

    @property
    def attention(self) -> str:
        """Implementation of attention in the language model."""
        implementation: str = self.model.config.text_config._attn_implementation
        return implementation

    def positions(self, ids_BL: Tensor, real_BL: Tensor, grids_N3: Tensor | None) -> Tensor:
        """Rotary positions (3, B, L): one step per text token, a grid per image."""
        kinds_BL = (ids_BL == self.model.config.image_token_id).int()
        positions: Tensor
        positions, _ = self.model.model.get_rope_index(
            ids_BL, mm_token_type_ids=kinds_BL, image_grid_thw=grids_N3, attention_mask=real_BL.long()
        )
        return positions

    def encode(
        self,
        tokens: Tokens,
        positions_3BL: Tensor,
        mask_B1LL: Tensor,
        vision_block: int | None,
        added_NhwE: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Last hidden states (B, L, D), and one vision block's features (images, h, w, E) in raster order.

        ``added_NhwE`` (raster order) is added to what the last vision block gives, before patches are merged.

        Raises:
            ValueError: patch features are asked for and the images differ in size; or a gradient is, where attention
                has none.
        """
        captured: list[Tensor] = []
        handles = []
        blocks = self.model.model.visual.blocks
        if added_NhwE is not None:
            added = self.from_raster(added_NhwE)
            handles.append(
                blocks[-1].register_forward_hook(lambda module, inputs, output: output + added.to(output.dtype))
            )
        if vision_block is not None:
            capture = blocks[vision_block].register_forward_hook(lambda module, inputs, output: captured.append(output))
            handles.append(capture)
        try:
            output = self.model.model(
                input_ids=tokens.ids_BL,
                attention_mask=self.attention_mask(mask_B1LL),
                position_ids=positions_3BL,
                pixel_values=tokens.pixels,
                image_grid_thw=tokens.grids_N3,
                use_cache=False,
            )
        finally:
            for handle in handles:
                handle.remove()
        hidden: Tensor = output.last_hidden_state
        return hidden, self._raster(captured[0], tokens.grids_N3) if captured else None

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores (..., vocabulary)."""
        scores: Tensor = self.model.lm_head(hidden)
        return scores

    @torch.inference_mode()
    def generate(self, tokens: Tokens, limit: int, end_id: int) -> list[list[int]]:
        """Greedy answers to B prompts of any lengths, each as if it were alone.

        Prompts keep their padding on the right, as in training. New tokens stand behind it with the positions that
        follow the prompt, and the padding between is masked. A prompt whose answer has ended leaves the batch.

        Args:
            tokens: B prompts.
            limit: most tokens of an answer.
            end_id: the token that ends an answer; it is not part of it.

        Returns:
            B lists of token ids.
        """
        real_BL = tokens.segments_BL != PAD
        positions_3BL = self.positions(tokens.ids_BL, real_BL, tokens.grids_N3)
        cache = DynamicCache(config=self.model.config.text_config)
        hidden_BLD = self.model.model(
            input_ids=tokens.ids_BL,
            attention_mask=real_BL.long(),
            position_ids=positions_3BL,
            pixel_values=tokens.pixels,
            image_grid_thw=tokens.grids_N3,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        rows = torch.arange(len(real_BL), device=real_BL.device)
        last_BD = hidden_BLD[rows, real_BL.sum(dim=1) - 1]
        next_B = positions_3BL.amax(dim=(0, 2)) + 1
        answers: list[list[int]] = [[] for _ in rows]
        for _ in range(limit):
            chosen_B = self.logits(last_BD).argmax(dim=-1)
            going_B = chosen_B != end_id
            if not going_B.all():
                rows, chosen_B, next_B, real_BL = (t[going_B] for t in (rows, chosen_B, next_B, real_BL))
                cache.batch_select_indices(going_B.nonzero()[:, 0])
            if not len(rows):
                break
            for row, token in zip(rows.tolist(), chosen_B.tolist(), strict=True):
                answers[row].append(token)
            real_BL = torch.cat([real_BL, real_BL.new_ones(len(rows), 1)], dim=1)
            last_BD = self.model.model(
                input_ids=chosen_B[:, None],
                attention_mask=real_BL.long(),
                position_ids=next_B[None, :, None].expand(3, -1, -1),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, 0]
            next_B = next_B + 1
        return answers

    @abstractmethod
    def raster(self, patches_NE: Tensor, height: int, width: int) -> Tensor:
        """A vision block's output (images · height · width, E), as the family orders it, as (images, height, width, E).

        Args:
            patches_NE: output of a block for images of one size.
            height: rows of the patch grid.
            width: columns of the patch grid.
        """

    def block_order(self, height: int, width: int) -> Tensor | None:
        """The order in which the encoder puts the merge blocks of an image of height × width patches: their indices.

        None where it leaves them as they come.
        """
        return None

    def attention_mask(self, mask_B1LL: Tensor) -> Tensor | BlockMask | None:
        """A mask that is True where a row's token sees the column's, in the form that this attention takes."""
        if self.attention == "sdpa":
            return mask_B1LL
        if self.attention == "eager":  # takes an additive mask only; a bool one is silently wrong
            dtype = self.model.dtype
            return torch.zeros_like(mask_B1LL, dtype=dtype).masked_fill(~mask_B1LL, torch.finfo(dtype).min)
        if self.attention == "flex_attention":
            return _flex_mask(mask_B1LL)
        return None  # flash attention: causal, and padding stands on the right

    def from_raster(self, grid_NhwE: Tensor) -> Tensor:
        """The inverse of :meth:`raster`: (images, h, w, E) as a vision block has its patches, (images · h · w, E)."""
        images, height, width, _ = grid_NhwE.shape
        numbers = torch.arange(images * height * width, device=grid_NhwE.device)
        return grid_NhwE.flatten(0, 2)[self.raster(numbers[:, None], height, width).flatten().argsort()]

    def _raster(self, patches_NE: Tensor, grids_N3: Tensor | None) -> Tensor:
        assert grids_N3 is not None, "patch features need images"
        grids = {tuple(grid) for grid in grids_N3.tolist()}
        if len(grids) != 1:
            raise ValueError(f"patch features need views of one size, got patch grids {sorted(grids)}")
        _, height, width = grids.pop()
        return self.raster(patches_NE, height, width)


def _flex_mask(mask_B1LL: Tensor) -> BlockMask:
    """The same mask in the form of flex attention, which leaves out the blocks that nobody sees."""
    if mask_B1LL.device.type == "cpu" and torch.is_grad_enabled():
        raise ValueError("backbone.attention is flex_attention, which has no gradients on a CPU; choose sdpa")
    from torch.nn.attention.flex_attention import create_block_mask

    batch, _, length, _ = mask_B1LL.shape

    def sees(sample: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return mask_B1LL[sample, 0, query, key]

    return create_block_mask(sees, batch, None, length, length, device=str(mask_B1LL.device))
