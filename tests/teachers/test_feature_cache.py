"""The feature cache: what it holds, and what it refuses."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from thinkvla.contract import Embodiment, Image
from thinkvla.method.geometry import resize_targets
from thinkvla.teachers import cache as cache_module
from thinkvla.teachers.cache import BATCH, FeatureCache, build_cache
from thinkvla.teachers.grid import no_finer
from thinkvla.teachers.protocol import Wants
from thinkvla.teachers.rows import from_rows, to_rows
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


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD", BATCH + 5)


def points_of(dataset: Frames) -> torch.Tensor:
    return torch.from_numpy(np.stack([dataset.point_maps(i) for i in range(len(dataset))]))


def test_every_frame_is_what_the_teacher_says(tmp_path: Path) -> None:
    teacher, dataset = SimulatorTeacher((2, 2)), Frames()
    cache = build_cache(teacher, dataset, tmp_path / "features")
    assert len(cache) == len(dataset)
    expected = teacher.features(points_of(dataset))
    for index in (0, BATCH - 1, BATCH, BATCH + 5, len(dataset) - 1, -1):
        assert cache[index].dtype == np.float32
        step = np.abs(expected[index].numpy()).max(axis=-1, keepdims=True) / 127
        assert (np.abs(cache[index] - expected[index].numpy()) <= 0.5 * step + 1e-6).all()
    with pytest.raises(IndexError):
        cache[len(dataset)]
    files = [path for path in (tmp_path / "features").iterdir() if path.suffix == ".npy"]
    assert len(files) == 2
    size = sum(path.stat().st_size for path in files)
    assert size == pytest.approx(len(dataset) * 2 * 2 * 2 * (48 + 4), abs=800)


def test_an_image_teacher_gets_the_views_in_the_embodiments_order(tmp_path: Path) -> None:
    teacher, dataset = ColourTeacher(), Frames(length=3)
    cache = build_cache(teacher, dataset, tmp_path / "features")
    expected = dataset.frames(1)["a"][:4, :4].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(cache[1][0, 0, 0], expected, atol=3e-3)


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float32, (3, 7), elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)),
)
def test_rows_come_back_within_half_a_step(features: NDArray[np.float32]) -> None:
    rows = to_rows(features)
    assert rows.shape == (3,)
    assert rows.itemsize == 7 + 4
    step = np.abs(features).max(axis=-1, keepdims=True) / 127
    assert (np.abs(from_rows(rows).astype(np.float64) - features) <= 0.5001 * step + 1e-37).all()


def test_rows_turn_by_no_more_than_their_docstring_says() -> None:
    features = np.random.default_rng(0).normal(size=(500, 384)).astype(np.float32)
    features[::2, 0] = 40  # a channel that dwarfs the others
    restored = from_rows(to_rows(features)).astype(np.float64)
    cosine = (features * restored).sum(-1) / np.linalg.norm(features, axis=-1) / np.linalg.norm(restored, axis=-1)
    bound = 384 / (8 * 127**2) * (np.abs(features).max(-1) / np.linalg.norm(features, axis=-1)) ** 2
    assert (1 - cosine <= 1.01 * bound).all()
    assert (1 - cosine[1::2]).mean() < 5e-5


def test_a_feature_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    class Broken(ColourTeacher):
        def features(self, frames: torch.Tensor) -> torch.Tensor:
            values = super().features(frames)
            values[1, 0, 1, 0, 2] = torch.nan
            return values

    with pytest.raises(ValueError, match=r"not finite, at \(1, 0, 1, 0\)"):
        build_cache(Broken(), Frames(length=3), tmp_path / "features")


class Counting(SimulatorTeacher):
    """Counts the frames it is asked about, and can be made to die."""

    def __init__(self, dies_after: int | None = None) -> None:
        super().__init__((2, 2))
        self.seen, self.dies_after = 0, dies_after

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        if self.dies_after is not None and self.seen >= self.dies_after:
            raise KeyboardInterrupt
        self.seen += len(frames)
        return super().features(frames)


def test_a_build_that_was_stopped_goes_on_with_the_next_shard(tmp_path: Path) -> None:
    dataset, path = Frames(), tmp_path / "features"
    with pytest.raises(KeyboardInterrupt):
        build_cache(Counting(dies_after=BATCH + 5), dataset, path)
    assert len(list(path.glob("shard-*.npy"))) == 1
    assert not list(path.glob("*.partial"))
    again = Counting()
    cache = build_cache(again, dataset, path)
    done = len(dataset) - again.seen
    assert done in (BATCH + 5, len(dataset) - BATCH - 5)
    whole = build_cache(SimulatorTeacher((2, 2)), dataset, tmp_path / "whole")
    for index in range(len(dataset)):
        np.testing.assert_array_equal(cache[index], whole[index])
    finished = Counting()
    build_cache(finished, dataset, path)
    assert finished.seen == 0


def test_a_cache_travels_to_another_process_without_its_features(tmp_path: Path) -> None:
    cache = build_cache(SimulatorTeacher((2, 2)), Frames(), tmp_path / "features")
    sent = pickle.dumps(cache)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent)[7], cache[7])


def test_two_builds_at_once_both_end_with_a_whole_cache(tmp_path: Path) -> None:
    def build(path: Path) -> NDArray[np.float32]:
        return build_cache(SimulatorTeacher((2, 2)), Frames(), path)[9]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(build, [tmp_path / "features"] * 2))
    for features in found:
        np.testing.assert_array_equal(features, build(tmp_path / "alone"))


def test_stale_missing_and_damaged_caches_are_refused(tmp_path: Path) -> None:
    path, teacher, dataset = tmp_path / "features", SimulatorTeacher((2, 2)), Frames()
    with pytest.raises(ValueError, match=r"features: no feature cache there"):
        FeatureCache(path, teacher, dataset)
    build_cache(teacher, dataset, path)
    with pytest.raises(ValueError, match=r"stale: teacher changed since .*grid2x2.*grid4x4"):
        FeatureCache(path, SimulatorTeacher((4, 4)), dataset)
    with pytest.raises(ValueError, match=r"stale: dataset changed since .*frames-1.*frames-2"):
        build_cache(teacher, Frames(fingerprint="frames-2"), path)
    shard = path / "shard-00001.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"shard-00001\.npy is damaged .*; remove it"):
        build_cache(teacher, dataset, path)
    shard.write_bytes(b"")
    with pytest.raises(ValueError, match=r"shard-00001\.npy is damaged"):
        FeatureCache(path, teacher, dataset)
    np.save(shard, np.zeros((3, 2), dtype=np.float16))
    with pytest.raises(ValueError, match=r"shard-00001\.npy: holds \(3, 2\) rows of 2 bytes, expected .* of 52"):
        FeatureCache(path, teacher, dataset)
    shard.unlink()
    with pytest.raises(ValueError, match=r"shard-00001\.npy is missing"):
        FeatureCache(path, teacher, dataset)
    build_cache(teacher, dataset, path)
    assert shard.read_bytes() == whole
    (path / "key.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="stale: dataset, form, teacher changed"):
        FeatureCache(path, teacher, dataset)
    (path / "key.json").unlink()
    with pytest.raises(ValueError, match=r"key\.json is missing; remove the folder"):
        build_cache(teacher, dataset, path)


def test_a_teacher_that_fails_leaves_no_shard(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not divide"):
        build_cache(SimulatorTeacher((3, 3)), Frames(length=3), tmp_path / "features")
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["key.json"]


def test_a_finer_teacher_is_kept_on_the_policys_grid() -> None:
    points = points_of(Frames(length=2))
    fine, coarse = SimulatorTeacher((4, 4)), no_finer(SimulatorTeacher((4, 4)), (3, 3))
    assert (coarse.grid, coarse.dim, coarse.wants) == ((3, 3), 48, "point_maps")
    assert coarse.fingerprint.endswith("grid4x4-to3x3")
    # What L_geo would make of the fine features.
    torch.testing.assert_close(coarse.features(points), resize_targets(fine.features(points), 3, 3))
    assert no_finer(fine, (4, 4)) is fine
    assert no_finer(fine, (8, 8)) is fine
