"""The policy on a thread of its own: what waits is taken together, in the order in which it came.

A session asks for one thing at a time, so first come, first served is fair between sessions. Nothing waits for a
batch to fill: as soon as the thread is free it takes all that is there, up to ``batch``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from thinkvla.contract import Actions, Observation, Policy
from thinkvla.serve.faults import Refused
from thinkvla.serve.metrics import Metrics

logger = logging.getLogger(__name__)
STUCK = 10
"""Deadlines after which a policy that is still busy with one batch counts as stuck."""


@dataclass(eq=False)
class Pending:
    """An observation on its way through the policy; times are those of ``time.monotonic``."""

    observation: Observation
    answer: asyncio.Future[Actions]
    deadline: float = math.inf
    submitted: float = field(default_factory=time.monotonic)
    started: float = 0.0
    ended: float = 0.0


class Batcher:
    """Lets many sessions share one policy.

    Args:
        policy: called from one thread, of the batcher's own.
        batch: most observations in one call.
        queue: most observations waiting.
        deadline_s: from an observation's coming to its answer.
        metrics: for the size of batches and the time they take.
    """

    def __init__(self, policy: Policy, *, batch: int, queue: int, deadline_s: float, metrics: Metrics) -> None:
        self.policy, self.batch, self.queue, self.deadline_s = policy, batch, queue, deadline_s
        self.metrics = metrics
        self._waiting: SimpleQueue[Pending | None] = SimpleQueue()
        self._busy_since: float | None = None
        self._loop = asyncio.get_running_loop()
        # A daemon, so that a policy that never returns cannot keep the process from ending.
        threading.Thread(target=self._work, name="policy", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Observations that wait."""
        return self._waiting.qsize()

    @property
    def stuck(self) -> bool:
        """Whether the policy has been busy with one batch for many deadlines."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > STUCK * self.deadline_s

    async def act(self, observation: Observation, received: float | None) -> Pending:
        """The policy's answer to one observation, in ``answer``.

        Args:
            observation: checked.
            received: when it came, for its deadline counts from there; None if it has none.

        Raises:
            Refused: ``busy``, ``deadline`` or ``failed``.
        """
        if self._waiting.qsize() >= self.queue:
            raise Refused("busy", f"{self.queue} observations are waiting already; ask again in a moment")
        pending = Pending(observation, self._loop.create_future())
        if received is None:
            self._waiting.put(pending)
            await pending.answer
            return pending
        pending.deadline = received + self.deadline_s
        expiry = self._loop.call_later(pending.deadline - time.monotonic(), self._expire, pending)
        self._waiting.put(pending)
        try:
            await pending.answer
        finally:
            expiry.cancel()
        return pending

    def close(self) -> None:
        """End the thread once it is free."""
        self._waiting.put(None)

    def _expire(self, pending: Pending) -> None:
        if not pending.answer.done():
            reason = f"the policy had no answer within {self.deadline_s:g} s"
            pending.answer.set_exception(Refused("deadline", reason))

    def _work(self) -> None:
        ended = False
        while not ended:
            taken = [self._waiting.get()]
            try:
                while len(taken) < self.batch:
                    taken.append(self._waiting.get_nowait())
            except Empty:
                pass
            ended = None in taken
            now = time.monotonic()
            # What is past its deadline has been answered already.
            batch = [pending for pending in taken if pending is not None and pending.deadline > now]
            if batch:
                self._busy_since = now
                outcomes = self._outcomes(batch)
                self._busy_since = None
                done = time.monotonic()
                for pending in batch:
                    pending.started, pending.ended = now, done
                try:
                    self._loop.call_soon_threadsafe(self._deliver, batch, outcomes)
                except RuntimeError:  # the loop has ended; nobody waits any more
                    return

    def _outcomes(self, batch: Sequence[Pending]) -> list[Actions | Refused]:
        """Actions for each observation; one that the policy fails on does not spoil the others."""
        try:
            chunks = self.policy.act([pending.observation for pending in batch])
            if len(chunks) != len(batch):
                raise RuntimeError(f"the policy returned {len(chunks)} chunks for {len(batch)} observations")
            expected = (self.policy.chunk, self.policy.embodiment.action_dim)
            for chunk in chunks:
                if chunk.actions.shape != expected:
                    raise RuntimeError(f"the policy returned a chunk of shape {chunk.actions.shape}, not {expected}")
            return [chunk.actions for chunk in chunks]
        except Exception:  # whatever it is, the server goes on
            if len(batch) > 1:
                return [outcome for pending in batch for outcome in self._outcomes([pending])]
            logger.exception("the policy failed on an observation")
            return [Refused("failed", "the policy failed on this observation; the server's log says how")]

    def _deliver(self, batch: Sequence[Pending], outcomes: Sequence[Actions | Refused]) -> None:
        self.metrics.batch(len(batch), batch[0].ended - batch[0].started)
        for pending, outcome in zip(batch, outcomes, strict=True):
            if pending.answer.done():  # its deadline has passed, or its session is gone
                continue
            if isinstance(outcome, Refused):
                pending.answer.set_exception(outcome)
            else:
                pending.answer.set_result(outcome)
