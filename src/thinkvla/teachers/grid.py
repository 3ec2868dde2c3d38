"""A teacher's features on a coarser grid: that of the policy's patches, to which the method resizes them anyway."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from thinkvla.teachers.protocol import GeometryTeacher, Wants


class OnGrid:
    """A teacher resized to ``grid``, bilinearly as in the method's L_geo: the same targets, cached smaller.

    A :class:`~thinkvla.teachers.protocol.GeometryTeacher` itself.
    """

    def __init__(self, teacher: GeometryTeacher, grid: tuple[int, int]) -> None:
        self.teacher, self.grid = teacher, grid
        self.dim: int = teacher.dim
        self.wants: Wants = teacher.wants
        self.fingerprint = f"{teacher.fingerprint}-to{grid[0]}x{grid[1]}"

    def features(self, frames: Tensor) -> Tensor:
        """What the teacher says of the frames, (B, V, *grid, dim) float32."""
        fine_BVhwG = self.teacher.features(frames)
        batch, views = fine_BVhwG.shape[:2]
        planes = fine_BVhwG.flatten(0, 1).permute(0, 3, 1, 2)
        coarse = F.interpolate(planes, size=self.grid, mode="bilinear", align_corners=False)
        resized: Tensor = coarse.permute(0, 2, 3, 1).unflatten(0, (batch, views))
        return resized


def no_finer(teacher: GeometryTeacher, grid: tuple[int, int]) -> GeometryTeacher:
    """The teacher on ``grid`` where its own has more patches, so that nothing is kept that is averaged away later."""
    return OnGrid(teacher, grid) if teacher.grid[0] * teacher.grid[1] > grid[0] * grid[1] else teacher
