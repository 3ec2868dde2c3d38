"""The policy beside the loop: it thinks in a thread of its own while the robot moves."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from thinkvla.contract import ActionChunk, Observation, Policy


class Thinker(Protocol):
    """Takes one question at a time."""

    def ask(self, observation: Observation) -> None:
        """Begin to think about an observation."""

    def answer(self) -> ActionChunk | None:
        """The answer, once; None while it is not there. Raises what the policy raised."""


class ThreadThinker:
    """A policy, local or remote, in one thread."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._future: Future[list[ActionChunk]] | None = None

    def ask(self, observation: Observation) -> None:
        """Begin to think about an observation."""
        self._future = self._pool.submit(self._policy.act, [observation])

    def answer(self) -> ActionChunk | None:
        """The answer, once; None while it is not there. Raises what the policy raised."""
        if self._future is None or not self._future.done():
            return None
        [chunk] = self._future.result()
        self._future = None
        return chunk

    def close(self) -> None:
        """Give up; a policy that hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
