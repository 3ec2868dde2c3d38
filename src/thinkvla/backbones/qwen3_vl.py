"""Qwen3-VL: every vision block attends to the whole image; patches stand in merge order."""

from __future__ import annotations

from torch import Tensor

from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.method.geometry import raster_order


class Qwen3VL(QwenVL):
    """Runs a Qwen3-VL with a mask and positions of the method's choosing."""

    def raster(self, patches_NE: Tensor, height: int, width: int) -> Tensor:
        """Undo the merge order."""
        return raster_order(patches_NE, height, width, self.merge)
