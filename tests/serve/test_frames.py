from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from serving import message, pack

from thinkvla.serve.frame_reader import FrameReader
from thinkvla.serve.frames import EncodedImage, FrameError, FrameLimits, decode, encode, encode_vla_eval

LIMITS = FrameLimits(depth=4, values=60, arrays=3, dimensions=3, text=40)
DTYPES = st.sampled_from([np.dtype(d) for d in ("?", "u1", "i2", "u4", "i8", "f2", "f4", "f8", ">f4", ">u2")])
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=10))
VALUES = st.recursive(
    st.one_of(PLAIN, ARRAYS, st.binary(max_size=300).map(lambda data: memoryview(data))),
    lambda inner: st.one_of(st.lists(inner, max_size=20), st.dictionaries(st.text(max_size=5), inner, max_size=20)),
    max_leaves=12,
)
WIDE = FrameLimits(depth=99, values=10**6)


def same(one: Any, other: Any) -> bool:
    """Equal in value and kind, NaN included."""
    if isinstance(one, np.ndarray):
        alike = isinstance(other, np.ndarray) and one.dtype == other.dtype and one.shape == other.shape
        return alike and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return isinstance(other, float) and struct.pack("d", one) == struct.pack("d", other)
    return type(one) is type(other) and bool(one == other)


def refuse(frame: bytes, words: str, limits: FrameLimits = LIMITS) -> None:
    with pytest.raises(FrameError, match=words):
        decode(frame, limits)


@given(VALUES)
@settings(max_examples=25, deadline=None)
def test_decodes_what_openpi_and_vla_eval_encode(value: Any) -> None:
    assert same(value, decode(pack(value), WIDE))
    assert same(value, decode(encode(value), WIDE))
    assert same(value, decode(encode_vla_eval(value), WIDE))


@given(st.binary(max_size=60) | VALUES.map(pack), st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_comes_is_decoded_within_limits_or_refused(frame: bytes, data: st.DataObject) -> None:
    """Agrees with msgpack's own decoder on what it accepts."""
    if frame:
        place = data.draw(st.integers(0, len(frame) - 1))
        frame = frame[:place] + bytes([data.draw(st.integers(0, 255))]) + frame[place + 1 :]
    try:
        decode(frame, WIDE)
    except FrameError:
        return
    msgpack.unpackb(frame, strict_map_key=False)


def test_arrays_are_views_of_the_frame() -> None:
    frame = pack(message())
    image = decode(frame, FrameLimits())["observation/image"]
    assert not image.flags.writeable
    assert np.shares_memory(image, np.frombuffer(frame, np.uint8))
    assert np.array_equal(image, message()["observation/image"])


def test_scalars_of_numpy_are_numbers() -> None:
    assert decode(pack({"a": np.float32(0.5), "b": np.int64(7), "c": np.bool_(True)}), LIMITS) == {
        "a": 0.5,
        "b": 7,
        "c": True,
    }


def test_compressed_pictures_stay_compressed() -> None:
    picture = {"__image__": True, "format": "png", "data": b"not looked at", "shape": [10**9, 10**9, 3]}
    decoded = decode(msgpack.packb(picture), LIMITS)
    assert decoded == EncodedImage("png", memoryview(b"not looked at"))
    refuse(msgpack.packb({**picture, "format": "gif"}), "raw, png or jpeg")
    raw = {**picture, "format": "raw", "dtype": "|u1", "shape": [1, 4, 3], "data": bytes(range(12))}
    assert decode(msgpack.packb(raw), LIMITS).shape == (1, 4, 3)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"", "ends in the middle"),
        (b"\xcb\x00", "ends in the middle"),
        (b"\xd9", "ends in the middle"),
        (b"\xa5abc", "ends in the middle"),
        (b"\x01\x02", "1 bytes follow the end"),
        (b"\xc1", "type 0xc1"),
        (b"\xd4\x01\x00", "type 0xd4"),
        (b"\xc7\x01\x05\x00", "type 0xc7"),
        (b"\xdd\xff\xff\xff\xff", "4294967295 values are announced"),
        (b"\xdf\xff\xff\xff\xff", "values are announced"),
        (b"\xc6\xff\xff\xff\xff", "4294967295 bytes are announced"),
        (b"\xdb\xff\xff\xff\xff", "text of 4294967295 bytes"),
        (b"\xa2\xff\xfe", "not UTF-8"),
        (b"\x81\x01\x02", "every key must be text"),
        (b"\x82\xa1a\x01\xa1a\x02", "stands twice"),
        (b"\x91" * 5 + b"\x01", "nested more than 4 deep"),
        (msgpack.packb(list(range(61))), "more than 60 values"),
        (msgpack.packb([[0] * 30, [0] * 30]), "more than 60 values"),
        (msgpack.packb("x" * 41), "text of 41 bytes; the limit is 40"),
        (pack([np.zeros(1)] * 4), "more than 3 arrays"),
        (pack(np.zeros((1, 1, 1, 1))), "at most 3 integers"),
        (msgpack.packb({"__ndarray__": True}), "'data' must be bytes"),
        (msgpack.packb({"__ndarray__": True, "data": b"", "dtype": "|O", "shape": [0]}), "'dtype' must be"),
        (msgpack.packb({"__ndarray__": True, "data": b"", "dtype": "V8", "shape": [0]}), "'dtype' must be"),
        (msgpack.packb({"__ndarray__": True, "data": b"", "dtype": "u1", "shape": "3"}), "'dtype' must be"),
        (msgpack.packb({"__ndarray__": True, "data": b"", "dtype": "<u1", "shape": 3}), "'shape' must be a list"),
        (msgpack.packb({"__ndarray__": True, "data": b"", "dtype": "<u1", "shape": [0]}), "integers above 0"),
        (msgpack.packb({"__ndarray__": True, "data": b"a", "dtype": "<u1", "shape": [True]}), "integers above 0"),
        (
            msgpack.packb({"__ndarray__": True, "data": b"abc", "dtype": "<u1", "shape": [2**62, 2**62]}),
            "does not make 3 bytes",
        ),
        (msgpack.packb({"__npgeneric__": True, "data": b"x", "dtype": "<f4"}), "'data' must be a number"),
    ],
)
def test_limits_and_malformed_frames(frame: bytes, words: str) -> None:
    refuse(frame, words)


def test_objects_are_not_encoded() -> None:
    for value in (np.array([object()]), object(), np.array(["text"])):
        with pytest.raises(TypeError, match="a message cannot hold"):
            encode({"a": value})


def changed(frame: bytes, data: st.DataObject) -> bytes:
    place = data.draw(st.integers(0, len(frame) - 1))
    return frame[:place] + bytes([data.draw(st.integers(0, 255))]) + frame[place + 1 :]


def outcome(read: Callable[[bytes], Any], frame: bytes) -> Any:
    """What is read, or the message of the error."""
    try:
        return read(frame)
    except FrameError as error:
        return str(error)


@given(st.dictionaries(st.text(max_size=5), PLAIN | ARRAYS | st.lists(PLAIN, max_size=2), max_size=5), st.data())
@settings(max_examples=40, deadline=None)
def test_reader_reads_what_decode_decodes(first: dict[str, Any], data: st.DataObject) -> None:
    """The same form again, with other arrays or a byte changed anywhere, means what it means by itself."""
    reader = FrameReader(WIDE)
    frames = [pack(first)]
    again = {k: np.zeros_like(v) if isinstance(v, np.ndarray) else v for k, v in first.items()}
    frames += [pack(again), changed(frames[0], data), frames[0]]
    for frame in frames:
        assert same(outcome(lambda one: decode(one, WIDE), frame), outcome(reader.read, frame))


def test_reader_recognizes_the_form() -> None:
    reader = FrameReader(FrameLimits())
    reader.read(pack(message(0)))
    frame = pack(message(1))
    image = reader.read(frame)["observation/image"]
    assert np.array_equal(image, message(1)["observation/image"])
    assert np.shares_memory(image, np.frombuffer(frame, np.uint8))
    assert reader.read(pack(message(2, prompt="drop it")))["prompt"] == "drop it"
