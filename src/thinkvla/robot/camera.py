"""A camera that always has its latest picture: USB cameras, RTSP streams, anything PyAV opens."""

from __future__ import annotations

import threading
import time

import numpy as np
from PIL import Image as Pictures

from thinkvla.contract import Image


class VideoCamera:
    """Reads frames in a thread of its own and keeps the last.

    Args:
        source: device (``/dev/video0``), address (``rtsp://…``) or file.
        size: (height, width) of the pictures it gives.

    Raises:
        ValueError: the source cannot be opened.
    """

    def __init__(self, source: str, size: tuple[int, int]) -> None:
        import av

        self._size = size
        try:
            self._container = av.open(source, format="v4l2" if source.startswith("/dev/") else None, timeout=5.0)
        except OSError as error:  # PyAV's errors are OSErrors
            raise ValueError(f"camera '{source}' cannot be opened: {error}") from error
        self._source = source
        self._changed = threading.Condition()
        self._latest: tuple[Image, float] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name=f"camera {source}", daemon=True)
        self._thread.start()

    def latest(self, timeout_s: float = 5.0) -> tuple[Image, float]:
        """The last picture, uint8 (H, W, 3), and when it came (``time.monotonic``).

        Raises:
            RuntimeError: there has been none yet, for ``timeout_s``.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._latest is not None, timeout_s):
                raise RuntimeError(f"camera '{self._source}' gives no pictures")
            assert self._latest is not None
            return self._latest

    def close(self) -> None:
        """Stop reading."""
        self._ended = True
        self._thread.join(2.0)

    def _read(self) -> None:
        with self._container as container:
            for frame in container.decode(video=0):
                if self._ended:
                    return
                picture = fitted(frame.to_ndarray(format="rgb24"), self._size)
                with self._changed:
                    self._latest = picture, time.monotonic()
                    self._changed.notify_all()


def fitted(picture: Image, size: tuple[int, int]) -> Image:
    """A picture in ``size`` (height, width): the largest middle part of that shape, resized bilinearly."""
    height, width = picture.shape[:2]
    if (height, width) == size:
        return picture
    scale = min(height / size[0], width / size[1])
    high, wide = size[0] * scale, size[1] * scale
    box = ((width - wide) / 2, (height - high) / 2, (width + wide) / 2, (height + high) / 2)
    return np.asarray(Pictures.fromarray(picture).resize((size[1], size[0]), Pictures.Resampling.BILINEAR, box))
