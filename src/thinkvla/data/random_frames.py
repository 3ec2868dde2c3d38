"""Single frames straight from the videos of a data set, for sets too large to be kept decoded."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Image
from thinkvla.data.frames import fit
from thinkvla.data.recording import Recording

OPEN_VIDEOS = 16
"""Videos a process keeps open; neighbouring frames are often asked for one after the other."""


class RandomFrames:
    """Frames by their index in the data set; each video is opened, sought in, and decoded from its last keyframe on."""

    def __init__(self, recording: Recording) -> None:
        """For a data set whose images are videos.

        Raises:
            ValueError: images of a camera stand in the tables, of which no single row can be read cheaply.
        """
        for camera, key in recording.cameras.items():
            if not recording.stored_as_video(camera):
                raise ValueError(
                    f"{recording.root}: the images of '{key}' stand in the tables, not in videos, and cannot be "
                    "decoded one by one; leave data.decode_once on"
                )
        self._recording = recording
        self._starts = np.array([episode.start for episode in recording.episodes])
        self._open: OrderedDict[Path, _Video] = OrderedDict()
        self._inherited: list[OrderedDict[Path, _Video]] = []
        self._process = os.getpid()

    def __getitem__(self, index: int) -> list[Image]:
        """The views of frame ``index``, each (H, W, 3) uint8 RGB.

        Raises:
            ValueError: a video is missing, broken or too short, or its frames do not fit the embodiment.
        """
        if self._process != os.getpid():
            # A forked worker shares its parent's files, and their place in them. The decoders are kept, unused: letting
            # go of one would wait for threads that only the parent has.
            self._inherited.append(self._open)
            self._open, self._process = OrderedDict(), os.getpid()
        episode = self._recording.episodes[int(np.searchsorted(self._starts, index, side="right")) - 1]
        views = []
        for camera in self._recording.cameras:
            span = episode.videos[camera]
            video = self._video(self._recording.root / span.path)
            image = video.frame(span.first + index - episode.start)
            views.append(fit(image, self._recording, video.path))
        return views

    def _video(self, path: Path) -> _Video:
        if path not in self._open:
            self._open[path] = _Video(path, self._recording.fps)
            if len(self._open) > OPEN_VIDEOS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(path)
        return self._open[path]


class _Video:
    """An open video and the place in it up to which it is decoded."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self._fps = fps
        if not path.is_file():
            raise ValueError(f"{path}: the video file is missing; restore it or generate the data set again")
        try:
            self._container: Any = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise self._broken(error) from error
        self._stream.codec_context.thread_count = 1
        self._frames: Iterator[Any] = iter(())
        self._next = -1

    def frame(self, number: int) -> NDArray[np.uint8]:
        """Frame ``number`` of the video, (H, W, 3)."""
        try:
            if number != self._next:
                # Half a frame early, so that rounding does not seek behind it; the keyframe before that is found.
                time = max(0.0, (number - 0.5) / self._fps)
                self._container.seek(int(time / self._stream.time_base), stream=self._stream)
                self._frames = self._container.decode(self._stream)
            for frame in self._frames:
                found = round(float(frame.time) * self._fps)
                if found == number:
                    self._next = number + 1
                    return np.asarray(frame.to_ndarray(format="rgb24"))
                if found > number:
                    break
        except av.FFmpegError as error:
            raise self._broken(error) from error
        raise ValueError(f"{self.path}: frame {number} is missing; restore the video or generate the data set again")

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def _broken(self, error: Exception) -> ValueError:
        return ValueError(f"{self.path}: the video cannot be decoded ({error}); restore it or generate it again")
