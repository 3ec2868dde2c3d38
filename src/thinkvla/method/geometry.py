"""(1) Latent 3D geometry perception: align intermediate vision features with a frozen 3D foundation model.

    F_geo = G(F_v),   L_geo = 1 − mean cos(F_3D, F_geo)   per patch

Only G, a light adapter, is added; the backbone is unchanged and the 3D model is gone at deployment.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Adapter(nn.Module):
    """MLP + LayerNorm between two feature spaces; used for geometry (G) and for reasoning (Rea)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, outputs), nn.GELU(), nn.Linear(outputs, outputs), nn.LayerNorm(outputs)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(..., inputs) → (..., outputs)."""
        adapted: Tensor = self.layers(features)
        return adapted


def raster_order(patches_NE: Tensor, height: int, width: int, merge: int) -> Tensor:
    """Undo the vision encoder's merge order, in which each merge × merge block of patches stands together.

    Args:
        patches_NE: (images · height · width, E) in merge order.
        height: rows of the patch grid.
        width: columns of the patch grid.
        merge: side of a block, 2 for Qwen3-VL.

    Returns:
        (images, height, width, E) in raster order.
    """
    blocks = patches_NE.view(-1, height // merge, width // merge, merge, merge, patches_NE.shape[-1])
    return blocks.transpose(2, 3).reshape(-1, height, width, patches_NE.shape[-1])


def resize_targets(targets_BVhwG: Tensor, height: int, width: int, windows_BV4: Tensor | None = None) -> Tensor:
    """Bilinear resize of the teacher's grid to ours: (B, V, h', w', G) → (B, V, height, width, G).

    Where views are cropped, ``windows_BV4`` are their windows and the grid is read at the centres of our patches in
    them.
    """
    batch, views, rows, columns, size = targets_BVhwG.shape
    if (rows, columns) == (height, width) and windows_BV4 is None:
        return targets_BVhwG
    grids = targets_BVhwG.reshape(batch * views, rows, columns, size).permute(0, 3, 1, 2)
    if windows_BV4 is None:
        resized = F.interpolate(grids, size=(height, width), mode="bilinear", align_corners=False)
    else:
        resized = F.grid_sample(
            grids, _centres(windows_BV4.flatten(0, 1), height, width), padding_mode="border", align_corners=False
        )
    return resized.permute(0, 2, 3, 1).reshape(batch, views, height, width, size)


def _centres(windows_N4: Tensor, height: int, width: int) -> Tensor:
    """Centres of the patches of each window, (N, height, width, 2) as (x, y) from −1 to 1 over the whole view."""
    top, left, rows, columns = (values[:, None] for values in windows_N4.float().unbind(1))
    middles = [(torch.arange(count, device=windows_N4.device) + 0.5) / count for count in (height, width)]
    y_Nh, x_Nw = top + middles[0] * rows, left + middles[1] * columns
    x_Nhw, y_Nhw = x_Nw[:, None].expand(-1, height, -1), y_Nh[:, :, None].expand(-1, -1, width)
    return torch.stack([x_Nhw, y_Nhw], dim=-1) * 2 - 1


def cosine_distance(targets: Tensor, predictions: Tensor) -> Tensor:
    """1 − cos over the last dimension, in float32: (..., K) and (..., K) → (...)."""
    return 1 - F.cosine_similarity(targets.float(), predictions.float(), dim=-1)


def geometry_distance(targets_BVhwG: Tensor, features_BVhwG: Tensor, windows_BV4: Tensor | None = None) -> Tensor:
    """1 − cos(F_3D, F_geo) per patch, teacher grid resized to ours, or to ours in cropped views: (B, V, h, w)."""
    _, _, height, width, _ = features_BVhwG.shape
    with torch.no_grad():
        resized = resize_targets(targets_BVhwG.float(), height, width, windows_BV4)
    return cosine_distance(resized, features_BVhwG)
