"""Views of the embedded world with their geometry: where each camera is, and the 3D point behind every few pixels.

A moment is all cameras' views of one instant, in the embodiment's order, as a geometry teacher gets them. Cameras are
written as VGGT's (arXiv 2503.11651) and OpenCV's: +x right, +y down, +z forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinkvla.contract import Image
from thinkvla.data.parallel import in_order
from thinkvla.files import new_folder
from thinkvla.pretrain.batches import HELD_OUT
from thinkvla.pretrain.scenes import MOMENTS, Scene, training_scenes, visit
from thinkvla.progress import progress
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.sensing import FARTHEST
from thinkvla.train.order import shuffled

STRIDE = 3
"""Pixels between two points of a map: 32 × 32 points for 96 × 96 pixels."""
OFF_TABLE = 0.005
"""Metres above the table from which a point belongs to a thing or to the arm."""
FILES = ("images.npy", "points.npy", "cameras.npy")
_OPENCV = np.diag([1.0, -1.0, -1.0])  # from MuJoCo's camera axes: +x right, +y up, −z forward


@dataclass(frozen=True)
class Views:
    """Some moments, memory-mapped or in memory.

    Attributes:
        images: uint8 (N, V, H, W, 3) RGB.
        points: float16 (N, V, h, w, 3) metres, robot base frame; NaN where nothing is.
        cameras: float32 (N, V, 3, 4): axes as columns, and place in metres, robot base frame.
    """

    images: Image
    points: NDArray[np.float16]
    cameras: NDArray[np.float32]


@dataclass(frozen=True)
class ViewBatch:
    """Scenes of V views with what is to be told of them, in the first camera's frame, metres.

    Attributes:
        images_BVHW3: uint8 RGB.
        points_BVhw3: points; NaN where nothing is.
        depths_BVhw: along each view's own axis; NaN where nothing is.
        off_table_BVhw: whether a point belongs to a thing or to the arm.
        rotations_BV33: cameras' axes as columns.
        positions_BV3: cameras' places.
    """

    images_BVHW3: Tensor
    points_BVhw3: Tensor
    depths_BVhw: Tensor
    off_table_BVhw: Tensor
    rotations_BV33: Tensor
    positions_BV3: Tensor


def write_views(folder: Path, suites: Sequence[str], scenes: int, workers: int) -> None:
    """Write FILES, the attributes of :class:`Views`, of MOMENTS moments of each of ``scenes`` scenes.

    Raises:
        ValueError: ``folder`` exists, a suite is unknown, or there are not that many seeds.
    """
    jobs = training_scenes(suites, scenes)
    (height, width), count = TABLETOP.image_size, (scenes * MOMENTS, len(TABLETOP.cameras))
    kinds = (np.uint8, np.float16, np.float32)
    shapes = ((height, width, 3), (height // STRIDE, width // STRIDE, 3), (3, 4))
    with new_folder(folder) as partial, progress("scene") as display:
        arrays = [
            np.lib.format.open_memmap(partial / name, mode="w+", dtype=kind, shape=(*count, *shape))
            for name, kind, shape in zip(FILES, kinds, shapes, strict=True)
        ]
        bar = display.add_task("views", total=scenes)
        for number, views in enumerate(in_order(_watch, jobs, workers)):
            place = slice(number * MOMENTS, (number + 1) * MOMENTS)
            for array, values in zip(arrays, (views.images, views.points, views.cameras), strict=True):
                array[place] = values
            display.advance(bar)
        for array in arrays:
            array.flush()


def read_views(folder: Path) -> Views:
    """What :func:`write_views` wrote, memory-mapped.

    Raises:
        ValueError: a file is missing, or they are not of the same moments.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing; make the views again")
    views = Views(*(np.load(folder / name, mmap_mode="r") for name in FILES))
    if not len(views.images) == len(views.points) == len(views.cameras):
        counts = f"{len(views.images)} images, {len(views.points)} point maps, {len(views.cameras)} cameras"
        raise ValueError(f"{folder}: {counts}; make the views again")
    return views


class ViewBatches:
    """Batches by number, for a data loader without batching of its own: a pure function of seed and number.

    Args:
        folder: what :func:`write_views` wrote.
        batch_size: moments in a batch.
        seed: of the order.
        length: batches of the run.
        held_out: take the scenes that training leaves out: the last HELD_OUT of them, at least one.

    Raises:
        ValueError: the folder is not complete, or has too few scenes.
    """

    def __init__(self, folder: Path, *, batch_size: int, seed: int, length: int, held_out: bool = False) -> None:
        self.views = read_views(folder)
        scenes = len(self.views.images) // MOMENTS
        split = MOMENTS * (scenes - max(1, round(scenes * HELD_OUT)))
        if not split:
            raise ValueError(f"{folder}: {scenes} scene is too few to hold any out; make more")
        self.moments = range(split, scenes * MOMENTS) if held_out else range(split)
        self.batch_size, self.seed, self.length = batch_size, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> ViewBatch:
        positions = range(number * self.batch_size, (number + 1) * self.batch_size)
        return view_batch(self.views, [self.moments[shuffled(p, len(self.moments), self.seed)] for p in positions])


def view_batch(views: Views, moments: Sequence[int]) -> ViewBatch:
    """Those moments as one batch."""
    chosen = list(moments)
    points = torch.from_numpy(views.points[chosen].astype(np.float32))
    cameras = torch.from_numpy(views.cameras[chosen])
    rotations, positions = cameras[..., :3], cameras[..., 3]
    depths = ((points - positions[:, :, None, None]) * rotations[:, :, None, None, :, 2]).sum(-1)
    to_first = rotations[:, :1].transpose(-1, -2)
    first = positions[:, :1]
    return ViewBatch(
        torch.from_numpy(views.images[chosen]),
        # Row vectors times R are R^T times column vectors: into the first camera's axes.
        (points - first[:, :, None, None]) @ rotations[:, :1, None],
        depths,
        points[..., 2] > OFF_TABLE,
        to_first @ rotations,
        ((positions - first)[:, :, None] @ rotations[:, :1])[:, :, 0],
    )


def _watch(scene: Scene) -> Views:
    """The scene's moments."""
    images, points, cameras = [], [], []
    for world, _ in visit(scene):
        seen = world.state().cameras
        maps = world.point_maps(STRIDE)
        for view, camera in zip(maps, seen, strict=True):
            view[np.linalg.norm(view - camera.position, axis=-1) > FARTHEST - 1e-3] = np.nan
        images.append(np.stack([world.render(camera.name, camera.size) for camera in seen]))
        points.append(maps.astype(np.float16))
        poses = [np.column_stack([camera.rotation @ _OPENCV, camera.position]) for camera in seen]
        cameras.append(np.stack(poses).astype(np.float32))
    return Views(np.stack(images), np.stack(points), np.stack(cameras))
