"""Crops: the same window for a view and for the teacher's grid, in training, in a checkpoint and at deployment."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_models import EMBODIMENT, SMALL, build, observation

from thinkvla.crops import check_area, cropped, middle_window, random_windows
from thinkvla.method.geometry import geometry_distance, resize_targets
from thinkvla.preprocessor import FILE, Preprocessor, RobotSample
from thinkvla.teachers.simulator import SimulatorTeacher
from thinkvla.train.robot_stream import RobotSource, RobotStream

areas = st.floats(0.05, 1.0)


@given(areas, st.integers(1, 3), st.integers(0, 10**6))
def test_windows_lie_in_the_view_and_keep_the_area(area: float, views: int, position: int) -> None:
    windows = random_windows(area, views, (0, position))
    assert windows.shape == (views, 4)
    np.testing.assert_array_equal(windows, random_windows(area, views, (0, position)))
    top, left, height, width = windows.T
    assert (windows >= 0).all()
    assert (top + height <= 1 + 1e-6).all()
    assert (left + width <= 1 + 1e-6).all()
    np.testing.assert_allclose(height * width, area, rtol=1e-5)
    middle = middle_window(area)
    assert middle[0] + middle[2] / 2 == pytest.approx(0.5)
    assert middle[2] * middle[3] == pytest.approx(area)


@pytest.mark.parametrize("area", [0.0, -0.1, 1.01])
def test_an_area_that_is_none_is_refused(area: float) -> None:
    with pytest.raises(ValueError, match=r"data\.crop is .*; expected the share of a view"):
        check_area(area)


def test_a_crop_shows_its_window_at_the_views_size() -> None:
    """A picture that is linear in both directions stays so, over a smaller range."""
    rows, columns = np.mgrid[0:40, 0:60].astype(np.float64)
    image = np.stack([4 * rows, 3 * columns, rows + columns], axis=-1).round().astype(np.uint8)
    shown = cropped(image, (0.25, 0.5, 0.5, 0.5)).astype(np.float64)
    assert shown.shape == image.shape
    expected = 0.25 * 40 + (rows + 0.5) / 2 - 0.5, 0.5 * 60 + (columns + 0.5) / 2 - 0.5
    np.testing.assert_allclose(shown[..., 0], 4 * expected[0], atol=1.01)
    np.testing.assert_allclose(shown[2:-2, 2:-2, 1], 3 * expected[1][2:-2, 2:-2], atol=1.01)
    np.testing.assert_array_equal(cropped(image, (0.0, 0.0, 1.0, 1.0)), image)


def bilinear(grid: NDArray[np.float64], y: float, x: float) -> NDArray[np.float64]:
    """The value at (y, x), in cells from the first one's centre, held at the border: the float64 reference."""
    height, width = grid.shape[:2]
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    a, b = y - top, x - left
    upper = (1 - b) * grid[top, left] + b * grid[top, left + 1]
    lower = (1 - b) * grid[top + 1, left] + b * grid[top + 1, left + 1]
    return np.asarray((1 - a) * upper + a * lower)


@given(areas, st.integers(0, 1000))
def test_the_teachers_grid_is_read_where_the_patches_are(area: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(1, 2, 5, 7, 3))
    windows = random_windows(area, 2, (seed,))
    found = resize_targets(torch.tensor(targets, dtype=torch.float32), 4, 6, torch.from_numpy(windows)[None])
    for view, (top, left, height, width) in enumerate(windows.astype(np.float64)):
        for row in range(4):
            for column in range(6):
                y = (top + (row + 0.5) / 4 * height) * 5 - 0.5
                x = (left + (column + 0.5) / 6 * width) * 7 - 0.5
                reference = bilinear(targets[0, view], y, x)
                np.testing.assert_allclose(found[0, view, row, column].numpy(), reference, atol=2e-5)


def test_the_whole_view_is_the_plain_resize() -> None:
    targets = torch.randn(2, 2, 5, 7, 3)
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(2, 2, 4)
    torch.testing.assert_close(resize_targets(targets, 8, 8, whole), resize_targets(targets, 8, 8))


def test_cropping_the_grid_is_asking_the_teacher_about_the_crop() -> None:
    """Exactly so for a teacher of single patches on a flat scene; nearly so for the simulator's codes."""
    size, window = 96, torch.tensor([[[0.125, 0.0, 0.75, 0.75]]])
    places = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(places, places, indexing="ij")
    inside_y, inside_x = 0.125 + y * 0.75, x * 0.75

    def patches(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        flat = torch.stack([a, b, 0.3 * a - b], dim=-1)
        return flat.view(8, 12, 8, 12, 3).mean(dim=(1, 3))[None, None]

    from_grid = resize_targets(patches(y, x), 8, 8, window)
    interior = (slice(None), slice(None), slice(None), slice(1, None))  # outside the centres the border is held
    torch.testing.assert_close(from_grid[interior], patches(inside_y, inside_x)[interior], atol=1e-6, rtol=0)

    def codes(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return SimulatorTeacher().features(torch.stack([a, b, 0.1 * torch.ones_like(a)], dim=-1)[None, None])

    distance = geometry_distance(codes(y, x), codes(inside_y, inside_x), window)
    assert distance.mean() < 0.05
    assert geometry_distance(codes(y, x), codes(inside_y, inside_x)).mean() > 3 * distance.mean()


def with_crop(preprocessor: Preprocessor, crop: float) -> Preprocessor:
    return Preprocessor(
        preprocessor.embodiment,
        SMALL,
        preprocessor.normalizer,
        preprocessor.tokenizer,
        preprocessor.image_processor,
        preprocessor.action_text,
        preprocessor.reasoning_text,
        crop=crop,
    )


def test_deployment_shows_the_middle_and_a_checkpoint_knows(tmp_path: Path) -> None:
    _, plain = build()
    preprocessor = with_crop(plain, 0.81)
    preprocessor.save(tmp_path)
    loaded = Preprocessor.load(tmp_path, SMALL)
    seen = observation("lift it")
    middle = type(seen)({name: cropped(image, middle_window(0.81)) for name, image in seen.images.items()}, "lift it")
    for one in (preprocessor, loaded):
        shown, expected = one.act_tokens([seen]).pixels, plain.act_tokens([middle]).pixels
        assert shown is not None
        assert expected is not None
        torch.testing.assert_close(shown, expected)
    own = json.loads((tmp_path / FILE).read_text())
    del own["crop"]
    (tmp_path / FILE).write_text(json.dumps(own))
    assert Preprocessor.load(tmp_path, SMALL).crop == 1.0


def test_training_moves_the_window_with_the_position() -> None:
    preprocessor = with_crop(build()[1], 0.81)
    seen = observation("lift it")
    actions = np.zeros((SMALL.chunk, 7), np.float32)

    def sample(index: int, chunk: int, windows: Any = None, *, points: bool = False) -> RobotSample:
        assert not points
        return RobotSample(seen, actions, np.ones(SMALL.chunk, bool), None, EMBODIMENT.name, windows)

    episodes = SimpleNamespace(embodiment=EMBODIMENT, __len__=lambda: 1)
    source = cast(RobotSource, SimpleNamespace(kept=1, episodes=episodes, sample=sample))
    stream = RobotStream([source], chunk=SMALL.chunk, seed=5)
    batch: Any = stream.batch(range(3), preprocessor)
    expected = np.stack([random_windows(0.81, 2, (5, position)) for position in range(3)])
    np.testing.assert_array_equal(batch.windows_BV4.numpy(), expected)
    views = [cropped(seen.images[name], tuple(expected[1, v])) for v, name in enumerate(EMBODIMENT.cameras)]
    shown = type(seen)(dict(zip(EMBODIMENT.cameras, views, strict=True)), "lift it")
    reference: Any = with_crop(preprocessor, 1.0).act_tokens([shown]).pixels
    torch.testing.assert_close(batch.tokens.pixels.view(3, -1)[1], reference.flatten())
    assert with_crop(preprocessor, 1.0).robot_batch([sample(0, 0)]).windows_BV4 is None
