"""Codes of 3D points, one for each patch of a view.

Each point's x, y, z (robot base frame) becomes sines and cosines at several wavelengths. The cosine
similarity of two codes is then the mean over axes and wavelengths of cos(2π Δ / λ): a kernel of the two
points' distance alone, 1 at zero and falling smoothly. The longest wavelength, 2 m, tells any two places of
a tabletop apart; the shortest, 4 cm, is the size of a graspable object. A patch's code is the mean code
of its points, which by itself fades the wavelengths that are shorter than the patch is wide: a distant
patch is described coarsely, one under the wrist camera finely.
"""

from __future__ import annotations

import torch
from torch import Tensor

WAVELENGTHS = 8
SHORTEST = 0.04
LONGEST = 2.0
CODE_SIZE = 3 * 2 * WAVELENGTHS
"""Numbers in a code."""
# Geometric steps, so that each wavelength refines the one before by the same factor.
_LENGTHS = SHORTEST * (LONGEST / SHORTEST) ** (torch.arange(WAVELENGTHS) / (WAVELENGTHS - 1))


def point_codes(maps: Tensor, grid: tuple[int, int], whose: str) -> Tensor:
    """Codes of point maps (B, V, H, W, 3), metres, robot base frame → (B, V, h, w, CODE_SIZE) float32.

    The last axis is (axis x, y, z; sine, cosine; wavelength, short to long).

    Args:
        maps: the 3D point behind each pixel.
        grid: (h, w) patches of a view.
        whose: who wants them, to begin an error with.

    Raises:
        ValueError: not point maps, or their size is no multiple of the grid.
    """
    if maps.ndim != 5 or maps.shape[-1] != 3 or not maps.is_floating_point():
        raise ValueError(
            f"{whose}: expected floating-point point maps (B, V, H, W, 3), got {tuple(maps.shape)} {maps.dtype}"
        )
    batch, views, height, width = maps.shape[:4]
    rows, columns = grid
    if height % rows or width % columns:
        raise ValueError(f"{whose}: {height}×{width} point maps do not divide into the grid {rows}×{columns}")
    phase = 2 * torch.pi * maps.float().unsqueeze(-1) / _LENGTHS.to(maps.device)
    code = torch.stack([phase.sin(), phase.cos()], dim=-2).flatten(-3)
    patches = code.view(batch, views, rows, height // rows, columns, width // columns, CODE_SIZE)
    return patches.mean(dim=(3, 5))
