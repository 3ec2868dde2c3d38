"""Reads the frames of one session, whose form hardly ever changes: decoded once, then recognized.

Two frames that differ in nothing but the contents of arrays decode to the same message with other arrays. So a frame
that is, outside the arrays, byte for byte the one before it needs no decoding: the arrays are laid over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkvla.serve.frames import FrameLimits, decode


@dataclass(frozen=True)
class _Form:
    """A frame without the contents of its arrays.

    Attributes:
        size: bytes of the frame.
        fixed: begin, end and content of every stretch outside the arrays.
        constants: the message's values that are no arrays.
        arrays: key, dtype, shape and offset of the others.
    """

    size: int
    fixed: tuple[tuple[int, int, bytes], ...]
    constants: dict[str, Any]
    arrays: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int], ...]


class FrameReader:
    """Decodes frame after frame; what it returns is what ``decode`` returns.

    Args:
        limits: what each frame may hold.

    Attributes:
        repeated: the last frame differed from the one before in nothing but the contents of arrays.
    """

    def __init__(self, limits: FrameLimits) -> None:
        self.limits = limits
        self.repeated = False
        self._form: _Form | None = None

    def read(self, frame: bytes) -> Any:
        """The frame's value; raises FrameError as ``decode`` does."""
        form = self._form
        if form is not None and len(frame) == form.size:
            for begin, end, content in form.fixed:
                if frame[begin:end] != content:
                    break
            else:
                message = dict(form.constants)
                for key, dtype, shape, offset in form.arrays:
                    message[key] = np.ndarray(shape, dtype, frame, offset)
                self.repeated = True
                return message
        self.repeated = False
        message = decode(frame, self.limits)
        self._form = _form(frame, message)
        return message


def _form(frame: bytes, message: Any) -> _Form | None:
    """The form of a frame; None where it has none to recognize: no map of arrays and plain values."""
    if type(message) is not dict:
        return None
    constants: dict[str, Any] = {}
    arrays: list[tuple[str, np.dtype[Any], tuple[int, ...], int]] = []
    start = np.frombuffer(frame, np.uint8).ctypes.data
    for key, value in message.items():
        if isinstance(value, np.ndarray):
            arrays.append((key, value.dtype, value.shape, value.ctypes.data - start))
        elif value is None or isinstance(value, (bool, int, float, str)):
            constants[key] = value
        else:
            return None
    fixed, at = [], 0
    for key, _, _, offset in sorted(arrays, key=lambda entry: entry[3]):
        fixed.append((at, offset, frame[at:offset]))
        at = offset + message[key].nbytes
    fixed.append((at, len(frame), frame[at:]))
    return _Form(len(frame), tuple(fixed), constants, tuple(arrays))
