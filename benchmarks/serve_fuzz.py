"""Fuzzes the decoder of the policy server's messages: hypothesis makes messages, and each is damaged in several ways.

python benchmarks/serve_fuzz.py --inputs 100000

Whatever comes must be decoded as msgpack's own decoder reads it, or refused with a FrameError, and take no more memory
than its length explains. The reader that recognizes a session's form must agree with the decoder every time.
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from collections import Counter
from operator import itemgetter
from typing import Any

import common
import msgpack
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from thinkvla.progress import progress
from thinkvla.serve.frame_reader import FrameReader
from thinkvla.serve.frames import FrameError, FrameLimits, decode, encode, encode_vla_eval

DAMAGES = 9
LIMITS = FrameLimits()
DTYPES = st.sampled_from([np.dtype(name) for name in ("?", "u1", "i2", "u4", "i8", "f2", "f4", "f8")])
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    PLAIN | ARRAYS | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=10,
)
HEADS = bytes([0x81, 0x91, 0xC1, 0xC4, 0xC6, 0xC7, 0xC9, 0xD4, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF])


def damaged(frame: bytes, chance: random.Random) -> bytes:
    """A frame with bytes changed, left out, repeated or put in, or cut off."""
    place = chance.randrange(len(frame) + 1)
    kind = chance.randrange(5)
    if kind == 0:
        return frame[:place]
    if kind == 1:
        return frame[:place] + chance.randbytes(1) + frame[place + 1 :]
    if kind == 2:
        return frame[:place] + bytes([chance.choice(HEADS)]) + b"\xff" * chance.randrange(5) + frame[place:]
    if kind == 3:
        return frame[:place] + frame[place : place + chance.randrange(20)] * chance.randrange(50) + frame[place:]
    return frame[:place] + frame[place + chance.randrange(20) :]


def outcome(read: Any, frame: bytes) -> str:
    """What is read, in words that are equal when the values are; a FrameError's message. Anything else is raised."""
    try:
        value = read(frame)
        return repr(
            sorted(value.items(), key=itemgetter(0)) if isinstance(value, dict) else value
        )  # a map has no order
    except FrameError as error:
        return f"refused: {error}"


def try_one(frame: bytes, reader: FrameReader, counts: Counter[str]) -> None:
    """One input; raises AssertionError, or whatever the decoder raised, if it is not handled as it should be."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    found = outcome(lambda one: decode(one, LIMITS), frame)
    peak = tracemalloc.get_traced_memory()[1] - before
    # A byte can make a small list or map; the words of the outcome are counted too.
    assert peak < 1000 * len(frame) + 100_000, (peak, frame)
    if found.startswith("refused"):
        counts["refused"] += 1
    else:
        counts["decoded"] += 1
        msgpack.unpackb(frame, strict_map_key=False)
    seen = outcome(reader.read, frame)
    assert "<memory" in found or seen == found, (seen, found)


def fuzz(inputs: int) -> dict[str, Any]:
    """Try that many inputs."""
    counts: Counter[str] = Counter()
    reader = FrameReader(LIMITS)
    started = time.perf_counter()
    tracemalloc.start()
    with progress("inputs") as display:
        bar = display.add_task("fuzzing", total=inputs)

        @settings(
            max_examples=-(-inputs // (DAMAGES + 1)),
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(VALUES | st.dictionaries(st.text(max_size=8), PLAIN | ARRAYS, max_size=8), st.integers(0, 2**32))
        def run(value: Any, seed: int) -> None:
            chance = random.Random(seed)
            frame = chance.choice((encode, encode_vla_eval))(value)
            try_one(frame, reader, counts)
            for _ in range(DAMAGES):
                try_one(damaged(frame, chance), reader, counts)
            display.update(bar, completed=counts.total())

        run()
    tracemalloc.stop()
    return {"inputs": counts.total(), "seconds": round(time.perf_counter() - started, 1), "outcomes": dict(counts)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    common.write("serve_fuzz", fuzz(parser.parse_args().inputs))
