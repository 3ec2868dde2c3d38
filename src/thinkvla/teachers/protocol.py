"""What training asks of a geometry teacher."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

Wants = Literal["images", "point_maps"]


class GeometryTeacher(Protocol):
    """A frozen source of per-patch 3D features, F_3D of the method. Training only.

    Attributes:
        dim: D_g, size of one patch's feature.
        grid: (h, w) patches of one view, raster order.
        fingerprint: identifies the features it gives; a cache of them is keyed by it.
        wants: ``images``, or ``point_maps`` for a teacher that reads a simulator's truth.
    """

    dim: int
    grid: tuple[int, int]
    fingerprint: str
    wants: Wants

    def features(self, frames: Tensor) -> Tensor:
        """Features of B time steps, the views of one step together as one scene.

        Args:
            frames: uint8 RGB images (B, V, H, W, 3), or point maps (B, V, H, W, 3) in metres, robot base
                frame.

        Returns:
            (B, V, h, w, dim) float32.
        """
        ...
