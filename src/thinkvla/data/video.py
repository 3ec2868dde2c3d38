"""Writing and reading the videos of an episode data set.

h264 in 4:4:4 (no chroma subsampling): at 96 px the usual 4:2:0 smears the colour that tells a red cube from
its table. Keyframes are close together, so that any reader can seek cheaply, and there are no B-frames, so
timestamps start at 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from thinkvla.contract import Image

CODEC = "h264"
PIXEL_FORMAT = "yuv444p"
KEYFRAME_EVERY = 5
CONSTANT_RATE_FACTOR = 18


class VideoWriter:
    """One growing mp4 file of constant frame rate."""

    def __init__(self, path: Path, fps: int, size: tuple[int, int]) -> None:
        """Open ``path`` (its folder is made) for frames of ``size`` (height, width)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w")
        # One thread and no look-ahead: with look-ahead, one file in a hundred differed in its bits (not its
        # pixels) for the same frames, so that the data set had another fingerprint.
        options = {
            "crf": str(CONSTANT_RATE_FACTOR),
            "preset": "veryfast",
            "tune": "zerolatency",
            "threads": "1",
        }
        options |= {"g": str(KEYFRAME_EVERY), "bf": "0"}
        self._stream = self._container.add_stream("libx264", rate=fps, options=options)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = PIXEL_FORMAT
        self._time_base = Fraction(1, fps)
        self.frames = 0
        self.bytes = 0

    def add(self, images: Image) -> None:
        """Append (T, H, W, 3) uint8 RGB frames; the first becomes a keyframe."""
        for offset, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = self.frames, self._time_base
            if offset == 0:
                frame.pict_type = av.video.frame.PictureType.I
            self._write(frame)
            self.frames += 1

    def close(self) -> None:
        """Flush the encoder and finish the file."""
        self._write(None)
        self._container.close()

    def _write(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self.bytes += packet.size
            self._container.mux(packet)


def decode_video(path: Path, fps: float) -> Iterator[tuple[int, Image]]:
    """Yield (frame number, (H, W, 3) uint8 RGB) from the start; the number comes from the frame's timestamp.

    Raises:
        ValueError: the file is missing, or not a video that can be decoded.
    """
    if not path.is_file():
        raise ValueError(f"{path}: the video file is missing; restore it or generate the data set again")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                yield round(float(frame.time) * fps), np.asarray(frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path}: the video cannot be decoded ({error}); restore it or generate it again") from error
