"""Qwen2.5-VL: most vision blocks attend within windows, and all its patches stand window by window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.method.geometry import raster_order


class Qwen25VL(QwenVL):
    """Runs a Qwen2.5-VL with a mask and positions of the method's choosing."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        vision = model.config.vision_config
        self.window: int = vision.window_size // vision.patch_size // self.merge  # side, in blocks of merge × merge

    def raster(self, patches_NE: Tensor, height: int, width: int) -> Tensor:
        """Undo the window order of merge blocks first, then the merge order inside and between them."""
        order = self.block_order(height, width).to(patches_NE.device)
        blocks = patches_NE.view(-1, len(order), self.merge**2, patches_NE.shape[-1])
        merge_order = blocks[:, order.argsort()]
        return raster_order(merge_order.reshape(patches_NE.shape), height, width, self.merge)

    def block_order(self, height: int, width: int) -> Tensor:
        """Window by window."""
        return window_order(height // self.merge, width // self.merge, self.window)


def window_order(rows: int, columns: int, side: int) -> Tensor:
    """The order in which the encoder puts the blocks of one image: window by window, in raster order inside each.

    Args:
        rows: of the image's grid of merge blocks.
        columns: of the same.
        side: of a window, in blocks; windows at the right and lower edge may be smaller.

    Returns:
        (rows · columns,) raster index of the block that stands at each place.
    """
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    window = (row // side) * -(-columns // side) + column // side
    return window.flatten().argsort(stable=True)
