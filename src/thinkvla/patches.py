"""Views of one size as a Qwen-VL's patches, for all of them at once and on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Patches:
    """Cuts views into normalized patches: the numbers of a Qwen-VL image processor.

    Args:
        processor: the image processor, whose patch size and normalization are taken.
        height: of every view, pixels; a multiple of the processor's merge blocks.
        width: likewise.
        device: where views are cut.

    Attributes:
        grid: rows and columns of a view's patches.
        tokens: language tokens of a view.
    """

    def __init__(self, processor: Any, height: int, width: int, device: torch.device | str = "cpu") -> None:
        self.patch, self.merge, self.time = processor.patch_size, processor.merge_size, processor.temporal_patch_size
        self.scale = processor.rescale_factor
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=device)
            for values in (processor.image_mean, processor.image_std)
        )
        self.grid = (height // self.patch, width // self.patch)
        self.tokens = self.grid[0] * self.grid[1] // self.merge**2

    def __call__(self, images_NHW3: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) RGB → float32 (N · rows · columns, K), patches in merge order.

        Each patch repeats its picture over the processor's temporal patch.
        """
        count, channels = images_NHW3.shape[0], images_NHW3.shape[3]
        rows, columns = self.grid
        scaled = (images_NHW3.float() * self.scale - self.mean) / self.std
        blocks = scaled.view(
            count, rows // self.merge, self.merge, self.patch, columns // self.merge, self.merge, self.patch, channels
        )
        ordered = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6).unsqueeze(6)
        repeated: Tensor = ordered.expand(-1, -1, -1, -1, -1, -1, self.time, -1, -1)
        return repeated.reshape(count * rows * columns, -1)
