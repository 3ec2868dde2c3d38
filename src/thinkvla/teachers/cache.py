"""A teacher's features of every frame of a data set, computed once and memory-mapped.

A cache is a folder of shards, files of SHARD frames each in the form of :mod:`thinkvla.teachers.rows`, with
``key.json``: the fingerprints of the teacher, which covers its weights and image pipeline, and of the data set.
Features of another teacher or of other frames are refused, not used.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thinkvla.files import check_space, new_file
from thinkvla.progress import progress
from thinkvla.teachers.inputs import FrameSource, TeacherInputs
from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.teachers.rows import from_rows, row_type, to_rows

BATCH = 64
"""Frames that a teacher is given at once."""
SHARD = 1024
"""Frames of a file; a build that was killed loses no more."""
KEY = "key.json"


class FeatureCache:
    """Features of every frame: ``cache[index]`` is (V, h, w, D_g) float32. Any number of processes may read it."""

    def __init__(self, path: Path, teacher: GeometryTeacher, dataset: FrameSource) -> None:
        """Open the cache ``path`` that :func:`build_cache` wrote.

        Raises:
            ValueError: it was made by another teacher or from other data, or a shard is missing or damaged.
        """
        self.path = path
        check_key(path, teacher, dataset)
        self._length = len(dataset)
        self._shape = (len(dataset.embodiment.cameras), *teacher.grid)
        self._dim = teacher.dim
        self._shards: list[NDArray[np.void]] = []
        self._open()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        shard, place = divmod(range(self._length)[index], SHARD)
        return from_rows(np.array(self._shards[shard][place]))

    def __getstate__(self) -> dict[str, Any]:
        # A data loader's worker opens the memory maps again; sending their bytes would copy all features.
        return {**self.__dict__, "_shards": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        kind = row_type(self._dim)
        for number, frames in enumerate(shards(self._length)):
            file = self.path / shard_name(number)
            repair = "remove it; the next training run computes it again"
            if not file.is_file():
                raise ValueError(f"{file} is missing; the next training run computes it again")
            try:
                rows: NDArray[np.void] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError, OSError) as error:
                raise ValueError(f"{file} is damaged ({error}); {repair}") from None
            if rows.shape != (len(frames), *self._shape) or rows.dtype != kind:
                raise ValueError(
                    f"{file}: holds {rows.shape} rows of {rows.dtype.itemsize} bytes, expected "
                    f"{(len(frames), *self._shape)} of {kind.itemsize}; {repair}"
                )
            self._shards.append(rows)


def build_cache(teacher: GeometryTeacher, dataset: FrameSource, path: Path) -> FeatureCache:
    """Compute the features of all frames into the folder ``path``, V·h·w·(D_g + 4) bytes a frame, and open it.

    Shards take their names when they are complete. Those of an earlier build are kept: one that was killed goes on, and
    several processes building the same cache share the work.

    Raises:
        ValueError: ``path`` is stale or damaged, the disk is too full, or a feature is not finite.
    """
    if any(path.glob("*.npy")) or (path / KEY).is_file():  # else another process may be about to write the key
        check_key(path, teacher, dataset)
    kind, shape = row_type(teacher.dim), (len(dataset.embodiment.cameras), *teacher.grid)
    parts = shards(len(dataset))
    frame = int(np.prod(shape)) * kind.itemsize
    missing = [number for number in range(len(parts)) if not (path / shard_name(number)).is_file()]
    if missing:
        check_space(path, frame * sum(len(parts[number]) for number in missing))
        with new_file(path / KEY, 0) as partial:
            partial.write_text(json.dumps(_key(teacher, dataset), indent=2) + "\n", encoding="utf-8")
        with progress("frame") as display:
            bar = display.add_task(f"geometry features ({frame * len(dataset) / 1e6:.0f} MB)", total=len(dataset))
            display.advance(bar, len(dataset) - sum(len(parts[number]) for number in missing))
            # Processes that build at the same time begin at different shards and skip each other's.
            turn = os.getpid() % len(missing)
            for number in missing[turn:] + missing[:turn]:
                file = path / shard_name(number)
                if not file.is_file():
                    _write_shard(teacher, dataset, parts[number], file, (len(parts[number]), *shape), kind)
                display.advance(bar, len(parts[number]))
    return FeatureCache(path, teacher, dataset)


def check_key(path: Path, teacher: GeometryTeacher, dataset: FrameSource) -> None:
    """Refuse the cache of another teacher or other data.

    Raises:
        ValueError: there is no cache, or it is stale.
    """
    file = path / KEY
    if not file.is_file():
        raise ValueError(f"{path}: no feature cache there, {KEY} is missing; remove the folder and build it again")
    recorded, expected = json.loads(file.read_text(encoding="utf-8")), _key(teacher, dataset)
    if recorded != expected:
        wrong = sorted(name for name in expected if recorded.get(name) != expected[name])
        raise ValueError(
            f"{path}: cached features are stale: {', '.join(wrong)} changed since "
            f"({[recorded.get(name) for name in wrong]} then, {[expected[name] for name in wrong]} now); "
            "remove the folder and build it again"
        )


def shards(length: int) -> list[range]:
    """The frames of each shard."""
    return [range(start, min(start + SHARD, length)) for start in range(0, length, SHARD)]


def shard_name(number: int) -> str:
    """File of a shard within its cache."""
    return f"shard-{number:05d}.npy"


def _write_shard(
    teacher: GeometryTeacher,
    dataset: FrameSource,
    frames: range,
    file: Path,
    shape: tuple[int, ...],
    kind: np.dtype[np.void],
) -> None:
    inputs = TeacherInputs(teacher.wants, dataset)
    with new_file(file, int(np.prod(shape)) * kind.itemsize) as partial:
        rows = np.lib.format.open_memmap(partial, mode="w+", dtype=kind, shape=shape)
        for start in range(0, len(frames), BATCH):
            indices = frames[start : start + BATCH]
            asked = torch.from_numpy(np.stack([inputs[index] for index in indices]))
            with torch.inference_mode():
                values = teacher.features(asked)
            rows[start : start + len(indices)] = to_rows(values.cpu().numpy())
        rows.flush()


def _key(teacher: GeometryTeacher, dataset: FrameSource) -> dict[str, str]:
    return {
        "teacher": teacher.fingerprint,
        "dataset": dataset.fingerprint,
        "form": f"int8 rows, {SHARD} frames a shard",
    }
