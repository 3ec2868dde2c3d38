"""What a geometry teacher is asked about each frame of a data set."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Embodiment, Image
from thinkvla.teachers.protocol import Wants


class FrameSource(Protocol):
    """What a teacher needs of a data set; :class:`~thinkvla.data.lerobot_reader.EpisodeDataset` has it."""

    embodiment: Embodiment
    fingerprint: str

    def __len__(self) -> int: ...

    def frames(self, index: int) -> dict[str, Image]:
        """Camera → (H, W, 3) uint8 RGB."""
        ...

    def point_maps(self, index: int) -> NDArray[np.float16]:
        """(V, H, W, 3) metres, robot base frame."""
        ...


class TeacherInputs:
    """``inputs[index]`` is (V, H, W, 3): uint8 views in the embodiment's order, or point maps, as the teacher wants."""

    def __init__(self, wants: Wants, dataset: FrameSource) -> None:
        self.wants, self.dataset = wants, dataset

    def __getitem__(self, index: int) -> NDArray[Any]:
        if self.wants == "point_maps":
            return self.dataset.point_maps(index)
        frames = self.dataset.frames(index)
        return np.stack([frames[camera] for camera in self.dataset.embodiment.cameras])
