"""A geometry teacher that needs no network: codes of the true 3D points a simulator knows (``thinkvla.points``)."""

from __future__ import annotations

from torch import Tensor

from thinkvla.points import CODE_SIZE, LONGEST, SHORTEST, WAVELENGTHS, point_codes
from thinkvla.teachers.protocol import Wants


class SimulatorTeacher:
    """Position codes from true point maps; a :class:`~thinkvla.teachers.protocol.GeometryTeacher`."""

    wants: Wants = "point_maps"
    dim: int = CODE_SIZE

    def __init__(self, grid: tuple[int, int] = (8, 8)) -> None:
        """``grid`` is (h, w) patches of a view; it must divide the point maps' size."""
        self.grid = grid
        self.fingerprint = f"simulator-sinusoids-{WAVELENGTHS}x{SHORTEST}-{LONGEST}m-grid{grid[0]}x{grid[1]}"

    def features(self, frames: Tensor) -> Tensor:
        """Codes of point maps (B, V, H, W, 3), metres, robot base frame → (B, V, h, w, 48) float32.

        Raises:
            ValueError: not point maps, or their size is no multiple of the grid.
        """
        return point_codes(frames, self.grid, "simulator teacher")
