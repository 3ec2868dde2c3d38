"""Views are turned as the published ones, and the points behind their pixels are where the camera says."""

from __future__ import annotations

import numpy as np
import pytest
from libero_scenes import turned

from thinkvla.simulators.libero.views import FARTHEST, RENDER_SIZE, as_seen, mirrored, point_stride, points_behind
from thinkvla.tabletop.questions.view import view_axes
from thinkvla.tabletop.state import CameraState

SIZE = (96, 96)


def camera(height: float = 1.0) -> CameraState:
    """Looks down, its picture's right along the world's +x rotated by 0.3 rad."""
    return CameraState("agentview", np.array([0.2, -0.1, height]), turned(0.3), 45.0, SIZE)


def test_images_are_turned_by_half_and_reduced() -> None:
    raw = np.zeros((RENDER_SIZE, RENDER_SIZE, 3), np.uint8)
    raw[:128, :128, 0] = 255  # first rows are the bottom of the picture
    seen = as_seen(raw, SIZE)
    assert seen.shape == (96, 96, 3)
    assert seen[60:, 60:, 0].min() == 255  # below, and on the other side
    assert seen[:40, :, 0].max() == seen[:, :40, 0].max() == 0
    assert np.array_equal(as_seen(raw, (RENDER_SIZE, RENDER_SIZE)), raw[::-1, ::-1])


def test_points_divide_a_view_into_squares() -> None:
    assert point_stride((96, 128), (24, 32)) == 4
    for points in [(24, 24), (25, 25), (24, 16)]:
        with pytest.raises(ValueError, match="do not divide into"):
            point_stride((96, 128), points)


def test_points_lie_on_the_surface_and_project_to_their_pixels() -> None:
    seen = mirrored(camera(), "front")
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.5, 1.5, (RENDER_SIZE, RENDER_SIZE)).astype(np.float32)
    stride = 4
    points = points_behind(depth, seen, stride)
    assert points.shape == (24, 24, 3)
    assert points.dtype == np.float32
    found = seen.project(points.astype(float))
    rows, columns = np.mgrid[0:24, 0:24] * stride + stride / 2
    assert np.allclose(found[..., 0], columns, atol=1e-3)
    assert np.allclose(found[..., 1], rows, atol=1e-3)
    pixels = (np.stack([rows, columns]) * RENDER_SIZE / 96).astype(int)
    assert np.allclose(found[..., 2], depth[::-1, ::-1][tuple(pixels)], atol=1e-5)


def test_a_flat_floor_is_flat_and_mirrored() -> None:
    points = points_behind(np.ones((RENDER_SIZE, RENDER_SIZE), np.float32), mirrored(camera(), "front"), 4)
    assert np.abs(points[..., 2]).max() < 1e-6
    # The picture's left shows what lies along the camera's own right.
    assert ((points[:, 0] - points[:, -1]) @ camera().rotation[:, 0] > 0.5).all()


def test_far_points_stay_near_enough() -> None:
    points = points_behind(np.full((RENDER_SIZE, RENDER_SIZE), 50.0, np.float32), mirrored(camera(), "front"), 4)
    assert np.allclose(np.linalg.norm(points - camera().position, axis=-1), FARTHEST, atol=1e-4)


def test_left_in_a_mirrored_view_is_the_pictures_left() -> None:
    ahead = np.stack([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]], axis=1)  # looks along +x, +z up
    plain = CameraState("agentview", np.zeros(3), ahead, 45.0, SIZE)
    assert np.allclose(view_axes(plain)[0], [0.0, 1.0, 0.0])
    assert np.allclose(view_axes(mirrored(plain, "front"))[0], [0.0, -1.0, 0.0])
    left = view_axes(mirrored(plain, "front"))[0] + [2.0, 0.0, 0.0]
    assert mirrored(plain, "front").project(left)[0] < 48
