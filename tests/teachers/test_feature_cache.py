"""The feature cache: what it holds, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from thinkvla.contract import Embodiment, Image
from thinkvla.teachers.cache import BATCH, FeatureCache, build_cache
from thinkvla.teachers.protocol import Wants
from thinkvla.teachers.simulator import SimulatorTeacher


class Frames:
    """A data set of random point maps and images, two views."""

    embodiment = Embodiment("test", ("a", "b"), (8, 8), 10.0, ("x",), ("m",), (-1.0,), (1.0,))

    def __init__(self, length: int = 2 * BATCH + 3, fingerprint: str = "frames-1") -> None:
        self.fingerprint = fingerprint
        rng = np.random.default_rng(0)
        self._points = rng.uniform(-1, 1, (length, 2, 4, 4, 3)).astype(np.float16)
        self._images = rng.integers(0, 256, (length, 2, 8, 8, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._points)

    def frames(self, index: int) -> dict[str, Image]:
        return {"b": self._images[index, 1], "a": self._images[index, 0]}

    def point_maps(self, index: int) -> NDArray[np.float16]:
        return np.array(self._points[index])


class ColourTeacher:
    """A teacher that wants images: mean colour of each half-view."""

    dim: int = 3
    grid: tuple[int, int] = (2, 2)
    fingerprint: str = "colours"
    wants: Wants = "images"

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        batch, views = frames.shape[:2]
        return frames.float().view(batch, views, 2, 4, 2, 4, 3).mean(dim=(3, 5)) / 255


def test_every_frame_is_what_the_teacher_says(tmp_path: Path) -> None:
    teacher, dataset = SimulatorTeacher((2, 2)), Frames()
    cache = build_cache(teacher, dataset, tmp_path / "features.npy")
    assert len(cache) == len(dataset)
    expected = teacher.features(torch.from_numpy(np.stack([dataset.point_maps(i) for i in range(len(dataset))])))
    for index in (0, BATCH - 1, BATCH, len(dataset) - 1):
        assert cache[index].dtype == np.float16
        np.testing.assert_allclose(cache[index], expected[index], atol=1e-3)
    np.testing.assert_array_equal(cache[np.array([3, 1])], np.stack([cache[3], cache[1]]))
    file_bytes = (tmp_path / "features.npy").stat().st_size
    assert file_bytes == pytest.approx(2 * len(dataset) * 2 * 2 * 2 * 48, abs=200)


def test_an_image_teacher_gets_the_views_in_the_embodiments_order(tmp_path: Path) -> None:
    teacher, dataset = ColourTeacher(), Frames(length=3)
    cache = build_cache(teacher, dataset, tmp_path / "features.npy")
    expected = dataset.frames(1)["a"][:4, :4].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(cache[1][0, 0, 0], expected, atol=1e-3)


def test_a_finished_cache_is_opened_and_not_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    build_cache(SimulatorTeacher((2, 2)), Frames(length=3), path)
    written = path.stat().st_mtime_ns
    build_cache(SimulatorTeacher((2, 2)), Frames(length=3), path)
    assert path.stat().st_mtime_ns == written


def test_stale_missing_and_damaged_caches_are_refused(tmp_path: Path) -> None:
    path, teacher, dataset = tmp_path / "features.npy", SimulatorTeacher((2, 2)), Frames(length=3)
    with pytest.raises(ValueError, match=r"features\.npy: no feature cache there"):
        FeatureCache(path, teacher, dataset)
    build_cache(teacher, dataset, path)
    with pytest.raises(ValueError, match=r"stale: teacher changed since .*grid2x2.*grid4x4"):
        FeatureCache(path, SimulatorTeacher((4, 4)), dataset)
    with pytest.raises(ValueError, match=r"stale: dataset changed since .*frames-1.*frames-2"):
        build_cache(teacher, Frames(length=3, fingerprint="frames-2"), path)
    np.save(path, np.zeros((3, 2), dtype=np.float16))
    with pytest.raises(ValueError, match=r"holds \(3, 2\) float16, expected \(3, 2, 2, 2, 48\)"):
        FeatureCache(path, teacher, dataset)
    path.with_suffix(".json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="stale: dataset, teacher changed"):
        FeatureCache(path, teacher, dataset)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match=r"no feature cache there \(features and features.json\)"):
        FeatureCache(path, teacher, dataset)


def test_a_teacher_that_fails_leaves_no_cache(tmp_path: Path) -> None:
    teacher = SimulatorTeacher((3, 3))
    with pytest.raises(ValueError, match="do not divide"):
        build_cache(teacher, Frames(length=3), tmp_path / "features.npy")
    assert list(tmp_path.iterdir()) == []
