"""A small client of the policy server, over the openpi protocol; it needs neither torch nor a checkpoint.

with PolicyClient("ws://127.0.0.1:8000", embodiment=TABLETOP) as client:
    answer = client.act(observation)
    answer.chunk.actions  # float32 (C, A)
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from thinkvla.contract import ActionChunk, Actions, ContractError, Embodiment, Observation
from thinkvla.serve.faults import Refused
from thinkvla.serve.frames import FrameError, FrameLimits, decode, encode
from thinkvla.serve.greeting import differences

LARGEST_ANSWER = 2**20
"""Bytes of a message from the server: a chunk of actions, or the greeting."""


@dataclass(frozen=True)
class Answer:
    """What the server answered to one observation.

    Attributes:
        chunk: the next actions.
        held: the chunk, from some step on, holds the robot still instead of acting.
        guards: guard that acted on the chunk → what it did (``clip`` or ``hold``).
        timing: milliseconds on the server: ``queue_ms``, ``infer_ms``, ``total_ms``.
    """

    chunk: ActionChunk
    held: bool
    guards: Mapping[str, str]
    timing: Mapping[str, float]


class PolicyClient:
    """One session with a policy server. Calls block; one thread at a time.

    Args:
        url: ``ws://host:port`` or ``wss://host:port``.
        token: the server's token, where it wants one.
        embodiment: the robot at hand; the server's is compared with it, field by field, before anything is asked.
        timeout_s: seconds to wait for the connection and for each answer.
        certificate: PEM file to trust besides the system's authorities, for ``wss``.

    Attributes:
        metadata: the server's greeting (docs/serving.md says what is in it).
        embodiment: what the policy sees and how it acts.
        chunk: actions in each chunk.

    Raises:
        ConnectionError: there is no server, it is another kind, or it does not let this client in; the message says
            why.
        TimeoutError: it says nothing.
        ContractError: the server's embodiment differs from ``embodiment``; the message names every field that does.
    """

    def __init__(
        self,
        url: str = "ws://127.0.0.1:8000",
        *,
        token: str | None = None,
        embodiment: Embodiment | None = None,
        timeout_s: float = 10.0,
        certificate: Path | None = None,
    ) -> None:
        self.url, self.timeout_s = url, timeout_s
        self._open = ExitStack()
        self._connection = self._open.enter_context(_connection(url, token, timeout_s, certificate))
        try:
            self.metadata = self._greeting()
            contract = self.metadata["contract"]
            self.embodiment = Embodiment.from_dict(contract["embodiment"])
            self.chunk: int = contract["chunk"]
            self._keys: dict[str, str] = self.metadata["keys"]["cameras"]
            if embodiment is not None:
                require_same(embodiment, self.embodiment)
        except BaseException:
            self.close()
            raise

    def act(
        self, observation: Observation, *, timestamp: float | None = None, last_action: Actions | None = None
    ) -> Answer:
        """The next actions.

        Args:
            observation: what the robot sees and was asked.
            timestamp: when the images were taken, seconds since the epoch; the server refuses old ones.
            last_action: float32 (A,) the action the robot executed last, from which the first step is limited; without
                it the server supposes that its last chunk was executed as far as its ``execute`` says.

        Raises:
            Refused: the server gives no actions; ``code`` and ``reason`` say why.
            TimeoutError: no answer within ``timeout_s``; the session is closed.
            ConnectionError: the connection is lost.
        """
        message: dict[str, Any] = {
            self._keys.get(camera, camera): image for camera, image in observation.images.items()
        }
        message[self.metadata["keys"]["instruction"]] = observation.instruction
        # As arrays, so that all messages of a session have one form, which the server recognizes.
        if timestamp is not None:
            message["timestamp"] = np.array([timestamp])
        if last_action is not None:
            message["last_action"] = np.asarray(last_action, np.float32)
        try:
            self._connection.send(encode(message))
        except ConnectionClosed as error:
            raise ConnectionError(f"{self.url}: {error}") from error
        answer = self._receive()
        return Answer(ActionChunk(answer["actions"]), answer["held"], answer["guards"], answer["server_timing"])

    def close(self) -> None:
        """End the session."""
        self._open.close()

    def __enter__(self) -> PolicyClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _greeting(self) -> dict[str, Any]:
        try:
            greeting = self._receive()
        except (FrameError, Refused) as error:
            raise ConnectionError(f"{self.url}: no policy server of thinkvla: {error}") from error
        if not isinstance(greeting, dict) or not {"contract", "keys"} <= greeting.keys():
            found = sorted(map(str, greeting)) if isinstance(greeting, dict) else type(greeting).__name__
            raise ConnectionError(
                f"{self.url}: no policy server of thinkvla: its greeting has no 'contract' (got {found}); give the "
                "address of 'thinkvla serve'"
            )
        return greeting

    def _receive(self) -> Any:
        try:
            frame = self._connection.recv(self.timeout_s)
        except TimeoutError:
            self.close()  # or the late answer would be taken for the next one
            raise TimeoutError(f"{self.url}: no answer within {self.timeout_s:g} s") from None
        except ConnectionClosed as error:
            raise ConnectionError(f"{self.url}: {error}") from error
        if isinstance(frame, str):
            code, _, reason = frame.partition(": ")
            raise Refused(code, reason)
        return decode(frame, FrameLimits())


def require_same(client: Embodiment, server: Embodiment) -> None:
    """Raise ContractError naming every field in which two embodiments differ."""
    found = differences(client.to_dict(), server.to_dict())
    if found:
        raise ContractError("the server's policy is for another embodiment: " + "; ".join(found))


@contextmanager
def _connection(url: str, token: str | None, timeout_s: float, certificate: Path | None) -> Iterator[ClientConnection]:
    context = None
    if url.startswith("wss:"):
        context = ssl.create_default_context(cafile=None if certificate is None else str(certificate))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(
                connect(
                    url,
                    additional_headers=headers,
                    compression=None,
                    max_size=LARGEST_ANSWER,
                    ping_interval=None,
                    open_timeout=timeout_s,
                    ssl=context,
                    proxy=None,
                )
            )
        except InvalidHandshake as error:
            body = getattr(getattr(error, "response", None), "body", b"")
            raise ConnectionError(f"{url}: {bytes(body or b'').decode(errors='replace').strip() or error}") from error
        except OSError as error:
            raise ConnectionError(f"{url}: {error}; is 'thinkvla serve' running there?") from error
        yield opened
