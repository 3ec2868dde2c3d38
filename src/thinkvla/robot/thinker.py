"""The policy beside the loop: it thinks in a thread of its own while the robot moves."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from thinkvla.contract import ActionChunk, Actions, Embodiment, Observation, Policy


class ChunkSource(Protocol):
    """A policy, here or behind a server.

    Attributes:
        embodiment: of the robot it acts for.
        chunk: actions in each chunk.
    """

    embodiment: Embodiment
    chunk: int

    def chunk_for(self, observation: Observation, last: Actions | None) -> ActionChunk:
        """The next actions; ``last`` (A,) is the action executed just before the observation, None for the first."""


class LocalPolicy:
    """A policy of this process, which sees no more than the observation."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.embodiment, self.chunk = policy.embodiment, policy.chunk

    def chunk_for(self, observation: Observation, last: Actions | None) -> ActionChunk:
        """The policy's answer to the observation."""
        [chunk] = self._policy.act([observation])
        return chunk


class Thinker(Protocol):
    """Takes one question at a time."""

    def ask(self, observation: Observation, last: Actions | None) -> None:
        """Begin to think about an observation; ``last`` (A,) is the action executed just before it."""

    def answer(self) -> ActionChunk | None:
        """The answer, once; None while it is not there. Raises what the policy raised."""


class ThreadThinker:
    """A policy in one thread."""

    def __init__(self, source: ChunkSource) -> None:
        self._source = source
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._future: Future[ActionChunk] | None = None

    def ask(self, observation: Observation, last: Actions | None) -> None:
        """Begin to think about an observation; ``last`` (A,) is the action executed just before it."""
        self._future = self._pool.submit(self._source.chunk_for, observation, last)

    def answer(self) -> ActionChunk | None:
        """The answer, once; None while it is not there. Raises what the policy raised."""
        if self._future is None or not self._future.done():
            return None
        chunk = self._future.result()
        self._future = None
        return chunk

    def close(self) -> None:
        """Give up; a policy that hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
