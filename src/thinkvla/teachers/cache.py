"""A teacher's features of every frame of a data set, computed once and memory-mapped.

The file is keyed by the teacher's and the data set's fingerprints, named in a JSON file beside it: features
of another teacher or of other frames are refused, not used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinkvla.contract import Embodiment, Image
from thinkvla.files import new_file
from thinkvla.progress import progress
from thinkvla.teachers.protocol import GeometryTeacher

BATCH = 64


class FrameSource(Protocol):
    """What the cache needs of a data set; :class:`~thinkvla.data.lerobot_reader.EpisodeDataset` has it."""

    embodiment: Embodiment
    fingerprint: str

    def __len__(self) -> int: ...

    def frames(self, index: int) -> dict[str, Image]:
        """Camera → (H, W, 3) uint8 RGB."""
        ...

    def point_maps(self, index: int) -> NDArray[np.float16]:
        """(V, H, W, 3) metres, robot base frame."""
        ...


class FeatureCache:
    """Features of every frame: ``cache[index]`` is (V, h, w, D_g) float16, also for an array of indices."""

    def __init__(self, path: Path, teacher: GeometryTeacher, dataset: FrameSource) -> None:
        """Open the cache file ``path`` that :func:`build_cache` wrote.

        Raises:
            ValueError: it is missing, or was made by another teacher or from other data.
        """
        self.path = path
        recorded = _read_key(path)
        expected = _key(teacher, dataset)
        if recorded != expected:
            wrong = sorted(name for name in expected if recorded.get(name) != expected[name])
            raise ValueError(
                f"{path}: cached features are stale: {', '.join(wrong)} changed since "
                f"({[recorded.get(name) for name in wrong]} then, {[expected[name] for name in wrong]} now); "
                "remove the file and build it again"
            )
        self._features: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
        shape = (len(dataset), len(dataset.embodiment.cameras), *teacher.grid, teacher.dim)
        if self._features.shape != shape or self._features.dtype != np.float16:
            raise ValueError(
                f"{path}: holds {self._features.shape} {self._features.dtype}, expected {shape} float16; "
                "remove the file and build it again"
            )

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int | NDArray[np.integer]) -> NDArray[np.float16]:
        return np.array(self._features[index])


def build_cache(teacher: GeometryTeacher, dataset: FrameSource, path: Path) -> FeatureCache:
    """Compute the features of all frames into ``path`` (float16, 2·V·h·w·D_g bytes a frame) and open it.

    The file takes its name when it is complete. An existing cache that fits is opened as it is.

    Raises:
        ValueError: ``path`` exists and is stale, or the disk is too full.
    """
    if path.is_file():
        return FeatureCache(path, teacher, dataset)
    shape = (len(dataset), len(dataset.embodiment.cameras), *teacher.grid, teacher.dim)
    size = 2 * int(np.prod(shape))
    with new_file(path, size) as partial:
        features = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        with progress("frame") as display:
            task = display.add_task(f"geometry features ({size / 1e6:.0f} MB)", total=len(dataset))
            for start in range(0, len(dataset), BATCH):
                indices = range(start, min(start + BATCH, len(dataset)))
                with torch.inference_mode():
                    values = teacher.features(_inputs(teacher, dataset, indices))
                features[indices.start : indices.stop] = values.cpu().numpy()
                display.advance(task, len(indices))
        features.flush()
        # The key first: a cache without its key is refused, a key without its cache is just built again.
        _key_path(path).write_text(json.dumps(_key(teacher, dataset), indent=2) + "\n")
    return FeatureCache(path, teacher, dataset)


def _inputs(teacher: GeometryTeacher, dataset: FrameSource, indices: range) -> Tensor:
    if teacher.wants == "point_maps":
        return torch.from_numpy(np.stack([dataset.point_maps(index) for index in indices]))
    cameras = dataset.embodiment.cameras
    steps = [dataset.frames(index) for index in indices]
    return torch.from_numpy(np.stack([np.stack([step[camera] for camera in cameras]) for step in steps]))


def _key(teacher: GeometryTeacher, dataset: FrameSource) -> dict[str, str]:
    return {"teacher": teacher.fingerprint, "dataset": dataset.fingerprint}


def _key_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _read_key(path: Path) -> dict[str, str]:
    if not path.is_file() or not _key_path(path).is_file():
        raise ValueError(f"{path}: no feature cache there (features and {_key_path(path).name}); build it first")
    key = json.loads(_key_path(path).read_text())
    return {str(name): str(value) for name, value in key.items()}
