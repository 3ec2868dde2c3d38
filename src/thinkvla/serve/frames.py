"""msgpack frames with NumPy arrays, as openpi's and vla-eval's clients send them, decoded under limits.

Every length in a frame is checked, against the limits and against the bytes that are really there, before anything
of that length is made. Arrays are views of the frame, not copies. There are only arrays of booleans, integers and
floats: extension types and object arrays are refused, and nothing is ever unpickled.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

ARRAY, SCALAR, IMAGE = "__ndarray__", "__npgeneric__", "__image__"
_KINDS = ("b1", "i1", "u1", "i2", "u2", "f2", "i4", "u4", "f4", "i8", "u8", "f8")
_DTYPES = {order + kind: np.dtype(order + kind) for kind in _KINDS for order in "<>|="}
_BUFFER = 4096
"""Bytes that encoding begins with and doubles as needed; msgpack's quarter of a mebibyte costs more than an answer."""
_BYTES, _TEXT, _LIST, _MAP, _CONSTANT = object(), object(), object(), object(), object()
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
# First byte of a value → what it is, and how many bytes of length or number follow.
_KINDS_OF_VALUES: dict[int, tuple[Any, int]] = {
    **dict.fromkeys(_CONSTANTS, (_CONSTANT, 0)),
    **{code: (kind, 4) for code, kind in zip((0xC6, 0xDB, 0xDD, 0xDF), (_BYTES, _TEXT, _LIST, _MAP), strict=True)},
    **{code: (kind, 2) for code, kind in zip((0xC5, 0xDA, 0xDC, 0xDE), (_BYTES, _TEXT, _LIST, _MAP), strict=True)},
    **{code: (kind, 1) for code, kind in zip((0xC4, 0xD9), (_BYTES, _TEXT), strict=True)},
    **{code: (struct.Struct(">" + kind), struct.calcsize(kind)) for code, kind in enumerate("fdBHIQbhiq", start=0xCA)},
}


class FrameError(ValueError):
    """A frame is malformed or over a limit; the message says which."""


@dataclass(frozen=True)
class FrameLimits:
    """What a frame may hold; how long it may be is checked before it is received.

    Attributes:
        depth: maps and lists inside one another.
        values: values of all maps and lists together, keys included.
        arrays: arrays and images.
        dimensions: dimensions of an array.
        text: bytes of one text.
    """

    depth: int = 8
    values: int = 4096
    arrays: int = 64
    dimensions: int = 8
    text: int = 16384


@dataclass(frozen=True)
class EncodedImage:
    """A compressed picture as it came; what it claims to be is checked when it is decoded.

    Attributes:
        format: ``png`` or ``jpeg``.
        data: the file's bytes.
    """

    format: str
    data: memoryview


def decode(frame: bytes, limits: FrameLimits) -> Any:
    """The value in a frame: None, bool, int, float, str, memoryview, list, dict with text keys, array or EncodedImage.

    Raises:
        FrameError: the frame is malformed or over a limit.
    """
    try:
        value, end = _read(frame, memoryview(frame), limits)
    except (IndexError, struct.error):
        raise FrameError(f"the message ends in the middle of a value, after {len(frame)} bytes") from None
    if end != len(frame):
        raise FrameError(f"{len(frame) - end} bytes follow the end of the message")
    return value


def encode(message: Any) -> bytes:
    """A frame as openpi's clients read it; arrays of booleans, integers and floats are allowed.

    Raises:
        TypeError: the message holds something else.
    """
    packed: bytes = msgpack.packb(message, default=_openpi_array, buf_size=_BUFFER)
    return packed


def encode_vla_eval(message: Any) -> bytes:
    """The same as vla-eval's clients read it: the keys of an array are text."""
    packed: bytes = msgpack.packb(message, default=_vla_eval_array, buf_size=_BUFFER)
    return packed


def _read(frame: bytes, view: memoryview, limits: FrameLimits) -> tuple[Any, int]:
    """The value that begins the frame, and where it ends. One closure, because calls cost more than all else here."""
    size = len(frame)
    at, left, arrays = 0, limits.values, limits.arrays

    def value(depth: int) -> Any:
        nonlocal at
        code = frame[at]
        at += 1
        if code < 0x80:
            return code
        if 0xA0 <= code < 0xC0:
            return text(code - 0xA0)
        if code < 0x90:
            return mapping(code - 0x80, depth)
        if code < 0xA0:
            return sequence(code - 0x90, depth)
        if code >= 0xE0:
            return code - 0x100
        kind, width = _KINDS_OF_VALUES.get(code, (None, 0))
        if kind is _CONSTANT:
            return _CONSTANTS[code]
        if isinstance(kind, struct.Struct):
            (number,) = kind.unpack_from(frame, at)
            at += width
            return number
        if kind is None:
            raise FrameError(f"byte {at - 1}: type 0x{code:02x} (an extension, or unused) is not accepted")
        if at + width > size:
            raise IndexError
        length = int.from_bytes(frame[at : at + width], "big")
        at += width
        if kind is _BYTES:
            return data(length)
        if kind is _TEXT:
            return text(length)
        return sequence(length, depth) if kind is _LIST else mapping(length, depth)

    def data(length: int) -> memoryview:
        nonlocal at
        begin, at = at, at + length
        if at > size:
            raise FrameError(f"byte {begin}: {length} bytes are announced and {size - begin} are there")
        return view[begin:at]

    def text(length: int) -> str:
        nonlocal at
        begin, at = at, at + length
        if length > limits.text:
            raise FrameError(f"byte {begin}: a text of {length} bytes; the limit is {limits.text}")
        if at > size:
            raise IndexError
        try:
            return frame[begin:at].decode()
        except UnicodeDecodeError:
            raise FrameError(f"byte {begin}: a text is not UTF-8") from None

    def account(count: int, depth: int) -> None:
        nonlocal left
        if depth >= limits.depth:
            raise FrameError(f"byte {at}: maps and lists are nested more than {limits.depth} deep")
        if count > size - at:
            raise FrameError(f"byte {at}: {count} values are announced, more than there are bytes")
        left -= count
        if left < 0:
            raise FrameError(f"byte {at}: the message has more than {limits.values} values")

    def sequence(count: int, depth: int) -> list[Any]:
        account(count, depth)
        return [value(depth + 1) for _ in range(count)]

    def mapping(count: int, depth: int) -> Any:
        nonlocal arrays
        begin = at
        account(2 * count, depth)
        entries: dict[str, Any] = {}
        for _ in range(count):
            key = value(depth + 1)
            if type(key) is memoryview and len(key) <= len(SCALAR):
                key = str(key, "latin-1")  # openpi's markers are bytes
            if type(key) is not str:
                raise FrameError(f"the map at byte {begin}: every key must be text")
            if key in entries:
                raise FrameError(f"the map at byte {begin}: the key '{key[:64]}' stands twice")
            entries[key] = value(depth + 1)
        if ARRAY in entries or IMAGE in entries:
            arrays -= 1
            if arrays < 0:
                raise FrameError(f"byte {begin}: the message has more than {limits.arrays} arrays")
            return _array(entries, begin, limits)
        return _scalar(entries, begin) if SCALAR in entries else entries

    return value(0), at


def _array(entries: dict[str, Any], at: int, limits: FrameLimits) -> NDArray[Any] | EncodedImage:
    data = entries.get("data")
    if type(data) is not memoryview:
        raise FrameError(f"the array at byte {at}: 'data' must be bytes")
    if IMAGE in entries and (form := entries.get("format")) != "raw":
        if form not in ("png", "jpeg"):
            raise FrameError(f"the image at byte {at}: 'format' must be raw, png or jpeg")
        return EncodedImage(form, data)
    dtype, shape = _dtype(entries, at), entries.get("shape")
    if type(shape) is not list or len(shape) > limits.dimensions:
        raise FrameError(f"the array at byte {at}: 'shape' must be a list of at most {limits.dimensions} integers")
    for side in shape:
        if type(side) is not int or side < 1:
            raise FrameError(f"the array at byte {at}: 'shape' must be integers above 0")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise FrameError(f"the array at byte {at}: shape {shape} of {dtype} does not make {len(data)} bytes")
    return np.ndarray(shape, dtype, data)


def _scalar(entries: dict[str, Any], at: int) -> bool | int | float:
    _dtype(entries, at)
    value = entries.get("data")
    if not isinstance(value, (bool, int, float)):
        raise FrameError(f"the scalar at byte {at}: 'data' must be a number")
    return value


def _dtype(entries: dict[str, Any], at: int) -> np.dtype[Any]:
    name = entries.get("dtype")
    if type(name) is not str or name not in _DTYPES:
        raise FrameError(f"the array at byte {at}: 'dtype' must be one of booleans, integers or floats")
    return _DTYPES[name]


def _openpi_array(value: Any) -> Any:
    if isinstance(value, np.ndarray) and (name := value.dtype.str) in _DTYPES:
        return {
            b"__ndarray__": True,
            b"data": np.ascontiguousarray(value).data,
            b"dtype": name,
            b"shape": value.shape,
        }
    return _number(value)


def _vla_eval_array(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.str in _DTYPES:
        data = np.ascontiguousarray(value).data
        return {ARRAY: True, "data": data, "dtype": value.dtype.str, "shape": value.shape}
    return _number(value)


def _number(value: Any) -> bool | int | float:
    if isinstance(value, np.generic) and value.dtype.str in _DTYPES:
        number: bool | int | float = value.item()
        return number
    raise TypeError(f"a message cannot hold {type(value).__name__}; send text, numbers and numeric arrays")
