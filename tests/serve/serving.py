"""Policies without a network, their observations, and a raw websocket, for the tests of the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from tiny_models import EMBODIMENT
from websockets.sync.client import ClientConnection, connect

from thinkvla.contract import ActionChunk, Embodiment, Observation
from thinkvla.serve.frames import FrameLimits, decode
from thinkvla.serve.options import GuardOptions, ServerOptions

CHUNK = 8
LIMITS = FrameLimits()


class Still:
    """Answers every observation with the same action, over and over."""

    def __init__(self, embodiment: Embodiment = EMBODIMENT, value: float = 0.25) -> None:
        self.embodiment, self.chunk = embodiment, CHUNK
        self.actions = np.full((CHUNK, embodiment.action_dim), value, np.float32)
        self.batches: list[list[Observation]] = []

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        self.batches.append(list(observations))
        return [ActionChunk(self.chunk_for(observation)) for observation in observations]

    def chunk_for(self, observation: Observation) -> NDArray[np.float32]:
        return self.actions


class Gated(Still):
    """Waits in ``act`` until ``gate`` is set; ``entered`` tells that it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        self.entered.set()
        assert self.gate.wait(20)
        return super().act(observations)


def options(guards: GuardOptions | None = None, **changes: Any) -> ServerOptions:
    return ServerOptions(port=0, guards=guards or GuardOptions(), **{"deadline_s": 20.0, **changes})


def observation(seed: int = 0, instruction: str = "lift it", embodiment: Embodiment = EMBODIMENT) -> Observation:
    rng = np.random.default_rng(seed)
    size = (*embodiment.image_size, 3)
    return Observation({c: rng.integers(0, 256, size, dtype=np.uint8) for c in embodiment.cameras}, instruction)


def message(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """What an openpi client would send; a change to None leaves a key out."""
    images = observation(seed).images
    full = {
        "observation/image": images["front"],
        "observation/wrist_image": images["wrist"],
        "observation/state": np.zeros(8, np.float32),
        "prompt": "lift it",
    }
    changed = {**full, **{key.replace("__", "/"): value for key, value in changes.items()}}
    return {key: value for key, value in changed.items() if value is not None}


def pack(value: Any) -> bytes:
    """A frame as openpi's own client makes it."""

    def array(one: Any) -> Any:
        if isinstance(one, np.ndarray):
            return {b"__ndarray__": True, b"data": one.tobytes(), b"dtype": one.dtype.str, b"shape": one.shape}
        if isinstance(one, np.generic):
            return {b"__npgeneric__": True, b"data": one.item(), b"dtype": one.dtype.str}
        raise TypeError(type(one))

    packed: bytes = msgpack.packb(value, default=array)
    return packed


@contextmanager
def session(port: int, **given: Any) -> Iterator[ClientConnection]:
    """A websocket whose greeting has been read."""
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None, proxy=None, **given) as connection:
        connection.recv(10)
        yield connection


def ask(connection: ClientConnection, request: Any) -> Any:
    """The answer to one openpi message: a map, or the text of a refusal."""
    connection.send(request if isinstance(request, (bytes, str)) else pack(request))
    answer = connection.recv(20)
    return answer if isinstance(answer, str) else decode(answer, LIMITS)


def wait_until(condition: Any, what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)
