"""A geometry teacher that needs no network: codes of the true 3D points a simulator knows.

Each point's x, y, z (robot base frame) becomes sines and cosines at several wavelengths. The cosine
similarity of two codes is then the mean over axes and wavelengths of cos(2π Δ / λ): a kernel of the two
points' distance alone, 1 at zero and falling smoothly. The longest wavelength, 2 m, tells any two places of
a tabletop apart; the shortest, 4 cm, is the size of a graspable object. A patch's feature is the mean code
of its points, which by itself fades the wavelengths that are shorter than the patch is wide: a distant
patch is described coarsely, one under the wrist camera finely.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thinkvla.teachers.protocol import Wants

WAVELENGTHS = 8
SHORTEST = 0.04
LONGEST = 2.0


class SimulatorTeacher:
    """Position codes from true point maps; a :class:`~thinkvla.teachers.protocol.GeometryTeacher`."""

    wants: Wants = "point_maps"
    dim: int = 3 * 2 * WAVELENGTHS

    def __init__(self, grid: tuple[int, int] = (8, 8)) -> None:
        """``grid`` is (h, w) patches of a view; it must divide the point maps' size."""
        self.grid = grid
        # Geometric steps, so that each wavelength refines the one before by the same factor.
        self._wavelengths = SHORTEST * (LONGEST / SHORTEST) ** (torch.arange(WAVELENGTHS) / (WAVELENGTHS - 1))
        self.fingerprint = f"simulator-sinusoids-{WAVELENGTHS}x{SHORTEST}-{LONGEST}m-grid{grid[0]}x{grid[1]}"

    def features(self, frames: Tensor) -> Tensor:
        """Codes of point maps (B, V, H, W, 3), metres, robot base frame → (B, V, h, w, 48) float32.

        The last axis is (axis x, y, z; sine, cosine; wavelength, short to long).

        Raises:
            ValueError: not point maps, or their size is no multiple of the grid.
        """
        if frames.ndim != 5 or frames.shape[-1] != 3 or not frames.is_floating_point():
            raise ValueError(
                f"simulator teacher: expected floating-point point maps (B, V, H, W, 3), got "
                f"{tuple(frames.shape)} {frames.dtype}"
            )
        batch, views, height, width = frames.shape[:4]
        rows, columns = self.grid
        if height % rows or width % columns:
            raise ValueError(
                f"simulator teacher: {height}×{width} point maps do not divide into the grid {rows}×{columns}"
            )
        phase = 2 * torch.pi * frames.float().unsqueeze(-1) / self._wavelengths.to(frames.device)
        code = torch.stack([phase.sin(), phase.cos()], dim=-2).flatten(-3)
        patches = code.view(batch, views, rows, height // rows, columns, width // columns, self.dim)
        return patches.mean(dim=(3, 5))
