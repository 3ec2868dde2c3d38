"""Decoded frames of a data set in one memory-mapped file, so that training reads any frame at disk speed.

A laptop trains on random frames of several views; decoding video for each would cost more than the learning. The file
is built once, under a temporary name, and takes its own when complete. A build that was killed goes on where it
stopped; of two processes that want it at the same time, one builds and the other waits.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinkvla.data.frames import FrameFile, decode_file, frame_files
from thinkvla.data.recording import Recording
from thinkvla.files import check_space
from thinkvla.progress import progress

KEEP_EVERY = 20.0
"""Seconds of decoding that a killed build loses at most, besides the video it was at."""


def open_frames(path: Path, recording: Recording) -> NDArray[np.uint8]:
    """Memory-map all (N, V, H, W, 3) uint8 RGB frames of a data set, once decoded into ``path``.

    Raises:
        ValueError: the disk is too full, a video or image is missing or broken, or there are too few frames.
    """
    shape = (recording.frames, len(recording.cameras), *recording.embodiment.image_size, 3)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            if not path.is_file():
                _build(path, recording, shape)
    frames: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if frames.shape != shape or frames.dtype != np.uint8:
        raise ValueError(f"{path}: holds {frames.shape} {frames.dtype}, expected {shape} uint8; remove it")
    return frames


def _build(path: Path, recording: Recording, shape: tuple[int, ...]) -> None:
    partial, record = path.with_suffix(".partial"), path.with_suffix(".done")
    done = set(record.read_text(encoding="utf-8").splitlines()) if partial.is_file() and record.is_file() else set()
    if not done:
        partial.unlink(missing_ok=True)
        record.unlink(missing_ok=True)
        check_space(path, int(np.prod(shape)))
        frames = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    else:
        frames = np.lib.format.open_memmap(partial, mode="r+")
    todo = [(view, file) for view, camera in enumerate(recording.cameras) for file in frame_files(recording, camera)]
    waiting: list[str] = []
    kept = time.monotonic()
    try:
        with progress("frame") as display:
            task = display.add_task("decoding frames", total=shape[0] * shape[1])
            for view, file in todo:
                name = _name(view, file, recording.root)
                if name in done:
                    display.advance(task, file.frames)
                    continue
                for row, image in decode_file(recording, file):
                    frames[row, view] = image
                    display.advance(task)
                waiting.append(name)
                if time.monotonic() - kept > KEEP_EVERY:
                    frames.flush()
                    with record.open("a", encoding="utf-8") as stream:
                        stream.writelines(f"{line}\n" for line in waiting)
                    waiting, kept = [], time.monotonic()
        frames.flush()
    except ValueError:  # of the data: it will be another data set when it is repaired
        partial.unlink()
        record.unlink(missing_ok=True)
        raise
    partial.rename(path)
    record.unlink(missing_ok=True)


def _name(view: int, file: FrameFile, root: Path) -> str:
    return f"{view} {file.path.relative_to(root).as_posix()}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process holds ``folder``; the system lets go of it when a process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
