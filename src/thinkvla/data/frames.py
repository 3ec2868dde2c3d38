"""The frames of a data set, file by file: videos, or compressed images in the tables, at the size of training."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from thinkvla.contract import Image
from thinkvla.data.lerobot_episodes import EpisodeRecord, table_files
from thinkvla.data.recording import Recording
from thinkvla.data.video import decode_video

FILTER = PIL.Image.Resampling.BILINEAR
"""Of resizing; Pillow widens it when it makes an image smaller, so that nothing is skipped (antialiasing)."""
BATCH = 64


@dataclass(frozen=True)
class FrameFile:
    """A file with frames of one camera.

    Attributes:
        path: a video, or a table with images.
        camera: whose frames they are.
        first: data set index of the first row of a table.
        episodes: whose frames a video holds.
        frames: number of frames.
    """

    path: Path
    camera: str
    first: int
    episodes: tuple[EpisodeRecord, ...]
    frames: int


def frame_files(recording: Recording, camera: str) -> list[FrameFile]:
    """The files with the frames of one camera, in order; raises ValueError if a table cannot be read."""
    if recording.stored_as_video(camera):
        groups: dict[str, list[EpisodeRecord]] = {}
        for episode in recording.episodes:
            groups.setdefault(episode.videos[camera].path, []).append(episode)
        return [
            FrameFile(recording.root / name, camera, members[0].start, tuple(members), sum(e.length for e in members))
            for name, members in groups.items()
        ]
    files, first = [], 0
    for path in table_files(recording.root, recording.info, recording.episodes):
        try:
            rows = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{path} cannot be read ({error}); restore it") from error
        files.append(FrameFile(path, camera, first, (), rows))
        first += rows
    return files


def decode_file(recording: Recording, file: FrameFile) -> Iterator[tuple[int, Image]]:
    """Each frame of a file with its index in the data set, (H, W, 3) uint8 RGB of the embodiment's size.

    Raises:
        ValueError: the file is missing or broken, does not hold all frames of an episode, or a frame's size is not the
            embodiment's (in a data set read by a specification: has not its shape, so that it cannot be resized).
    """
    decoded = _decode_video(recording, file) if recording.stored_as_video(file.camera) else _images(recording, file)
    for row, image in decoded:
        yield row, fit(image, recording, file.path)


def _decode_video(recording: Recording, file: FrameFile) -> Iterator[tuple[int, Image]]:
    row_of = {e.videos[file.camera].first + step: e.start + step for e in file.episodes for step in range(e.length)}
    for number, image in decode_video(file.path, recording.fps):
        row = row_of.pop(number, None)
        if row is not None:
            yield row, image
    if row_of:
        missing = min(row_of)
        episode = next(e for e in file.episodes if e.start <= row_of[missing] < e.start + e.length)
        raise ValueError(
            f"{file.path}: {len(row_of)} frames are missing, from frame {missing} on (episode {episode.index}); "
            "the video is shorter than its table. Restore it or generate the data set again"
        )


def _images(recording: Recording, file: FrameFile) -> Iterator[tuple[int, Image]]:
    key = recording.cameras[file.camera]
    row = file.first
    try:
        with pq.ParquetFile(file.path) as table:
            for batch in table.iter_batches(batch_size=BATCH, columns=[key]):
                for entry in batch.column(0).to_pylist():
                    yield row, _read_image(entry, f"{file.path}: {key} of frame {row}")
                    row += 1
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{file.path} cannot be read ({error}); restore it") from error


def _read_image(entry: dict[str, bytes | str | None] | None, where: str) -> Image:
    content = (entry or {}).get("bytes")
    if not isinstance(content, bytes):
        raise ValueError(f"{where}: there is no image in the table; write the data set with its images embedded")
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, PIL.UnidentifiedImageError) as error:
        raise ValueError(f"{where}: the image cannot be read ({error}); restore the table") from error


def fit(image: Image, recording: Recording, path: Path) -> Image:
    """An image of the file ``path`` at the size of the embodiment; raises ValueError as :func:`decode_file` does."""
    height, width = recording.embodiment.image_size
    if image.shape == (height, width, 3):
        return image
    if recording.spec is None:
        raise ValueError(f"{path}: frames are {image.shape}, the embodiment says {(height, width, 3)}; encode it again")
    if abs(image.shape[0] * width - image.shape[1] * height) > max(image.shape[:2]):  # more than a pixel's rounding
        raise ValueError(
            f"{path}: frames are {image.shape[:2]} (height, width), the embodiment's image_size {(height, width)} has "
            "another shape; choose one of the same shape"
        )
    return np.asarray(PIL.Image.fromarray(image).resize((width, height), FILTER))
