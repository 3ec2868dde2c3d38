"""Views as policies see them, and the 3D points behind their pixels: the one road for training and evaluation.

The published demonstrations turn the simulator's images by 180°: that leaves them upright, and mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from thinkvla.contract import Image
from thinkvla.tabletop.state import CameraState

RENDER_SIZE = 256
"""Pixels in which the field renders LIBERO's views, whatever size a policy takes."""
FARTHEST = 3.0
"""Metres from the camera at which a point lies at most."""


def as_seen(raw: NDArray[np.uint8], size: tuple[int, int]) -> Image:
    """A rendered image (H, W, 3), bottom row first, as the published demonstrations show it, of ``size`` (h, w)."""
    turned = np.ascontiguousarray(raw[::-1, ::-1])
    if turned.shape[:2] == size:
        return turned
    height, width = size
    return np.asarray(Pillow.fromarray(turned).resize((width, height), Pillow.Resampling.BILINEAR))


def mirrored(camera: CameraState, name: str) -> CameraState:
    """The camera whose picture is the mirror image of another's: its first axis points to the left."""
    return CameraState(name, camera.position, camera.rotation * [-1.0, 1.0, 1.0], camera.fovy, camera.size)


def point_stride(size: tuple[int, int], points: Sequence[int]) -> int:
    """How many pixels along either side of a view a point stands for.

    Args:
        size: (height, width) of the view.
        points: (rows, columns) of its points.

    Raises ValueError where that is not one whole number.
    """
    strides = {pixels / count for pixels, count in zip(size, points, strict=True)}
    stride = strides.pop()
    if strides or stride != int(stride):
        raise ValueError(f"views of {size} pixels do not divide into {tuple(points)} points, each of one square")
    return int(stride)


def points_behind(raw: NDArray[np.float32], camera: CameraState, stride: int) -> NDArray[np.float32]:
    """The visible 3D point at the centre of every ``stride`` × ``stride`` block of a view's pixels.

    Args:
        raw: (N, N) rendered depth along the viewing direction, metres, bottom row first.
        camera: the mirrored camera, with the view's size.
        stride: divides the view's size.

    Returns:
        float32 (H // stride, W // stride, 3), metres, world frame.
    """
    height, width = camera.size
    rows, columns = np.mgrid[0 : height // stride, 0 : width // stride] * stride + stride / 2
    pixels = raw.shape[0]
    depth = raw[::-1, ::-1][(rows * pixels / height).astype(int), (columns * pixels / width).astype(int)]
    focal = 0.5 * height / np.tan(np.radians(camera.fovy) / 2)
    across, up = (columns - width / 2) / focal, (height / 2 - rows) / focal
    rays = np.stack([across, up, -np.ones_like(up)], axis=-1)
    reach = np.minimum(depth, FARTHEST / np.linalg.norm(rays, axis=-1))
    points: NDArray[np.float32] = (camera.position + (rays * reach[..., None]) @ camera.rotation.T).astype(np.float32)
    return points
