"""Decoded frames of a data set in one memory-mapped file, so that training reads any frame at disk speed.

A laptop trains on random frames of several views; decoding video for each would cost more than the
learning. The file is built once, under a temporary name, and renamed when complete: two processes that
build it at the same time do the work twice and both end with a whole file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Embodiment, Image
from thinkvla.data.lerobot_layout import EpisodeRecord
from thinkvla.data.video import decode_video
from thinkvla.files import new_file
from thinkvla.progress import progress


def open_frames(path: Path, root: Path, embodiment: Embodiment, episodes: Sequence[EpisodeRecord]) -> NDArray[np.uint8]:
    """Memory-map all (N, V, H, W, 3) uint8 RGB frames of the data set ``root``, once decoded into ``path``.

    Raises:
        ValueError: the disk is too full, a video is missing or broken, or it has too few frames.
    """
    total = episodes[-1].start + episodes[-1].length
    shape = (total, len(embodiment.cameras), *embodiment.image_size, 3)
    if not path.is_file():
        _build(path, root, embodiment, episodes, shape)
    frames: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if frames.shape != shape or frames.dtype != np.uint8:
        raise ValueError(f"{path}: holds {frames.shape} {frames.dtype}, expected {shape} uint8; remove it")
    return frames


def _build(
    path: Path, root: Path, embodiment: Embodiment, episodes: Sequence[EpisodeRecord], shape: tuple[int, ...]
) -> None:
    with new_file(path, size=int(np.prod(shape))) as partial:
        frames = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with progress("frame") as display:
            task = display.add_task("decoding frames", total=shape[0] * shape[1])
            for view, camera in enumerate(embodiment.cameras):
                for video, members in by_video(episodes, camera).items():
                    fps = int(embodiment.control_hz)
                    for row, image in decode_episodes(root / video, members, camera, fps, shape[2:]):
                        frames[row, view] = image
                        display.advance(task)
        frames.flush()


def by_video(episodes: Sequence[EpisodeRecord], camera: str) -> dict[str, list[EpisodeRecord]]:
    """Video file → the episodes that it holds, for one camera."""
    groups: dict[str, list[EpisodeRecord]] = {}
    for episode in episodes:
        groups.setdefault(episode.videos[camera].path, []).append(episode)
    return groups


def decode_episodes(
    video: Path, episodes: Sequence[EpisodeRecord], camera: str, fps: int, shape: tuple[int, ...]
) -> Iterator[tuple[int, Image]]:
    """Decode one ``video``: yield each frame of its ``episodes`` with its index in the data set.

    Raises:
        ValueError: the video is missing, broken, of another size, or does not hold all frames of an episode.
    """
    row_of = {e.videos[camera].first + step: e.start + step for e in episodes for step in range(e.length)}
    for number, image in decode_video(video, fps):
        row = row_of.pop(number, None)
        if row is None:
            continue
        if image.shape != shape:
            raise ValueError(f"{video}: frames are {image.shape}, the embodiment says {shape}; encode it again")
        yield row, image
    if row_of:
        missing = min(row_of)
        episode = next(e for e in episodes if e.start <= row_of[missing] < e.start + e.length)
        raise ValueError(
            f"{video}: {len(row_of)} frames are missing, from frame {missing} on (episode {episode.index}); "
            "the video is shorter than its table. Restore it or generate the data set again"
        )
