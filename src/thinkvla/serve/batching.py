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
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from thinkvla.contract import Actions, Observation, Policy
from thinkvla.serve.faults import Refused
from thinkvla.serve.metrics import Metrics

logger = logging.getLogger(__name__)
_TICK_S = 0.001
"""Event loops round timers to this."""
STUCK = 10
"""Deadlines after which a policy that is still busy with one batch counts as stuck."""


@dataclass(eq=False, slots=True)
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
        self._open: set[Pending] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._watched = math.inf
        self._calls: deque[tuple[int, float]] = deque()
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
        if pending.deadline < self._watched:
            self._watch_for(pending.deadline)
        self._open.add(pending)
        try:
            self._waiting.put(pending)  # nothing more is done here, so that the policy's thread need not wait for it
            await pending.answer
        finally:
            self._open.remove(pending)
        return pending

    def settle(self) -> None:
        """Bring the metrics up to date: the policy's calls are counted when nobody waits for it."""
        while self._calls:
            self.metrics.batch(*self._calls.popleft())

    def close(self) -> None:
        """End the thread once it is free."""
        self._waiting.put(None)

    def _watch_for(self, deadline: float) -> None:
        """Look for deadlines that have passed at this one. A timer for each observation would cost more than it."""
        if self._watch is not None:
            self._watch.cancel()
        self._watched = deadline
        self._watch = self._loop.call_later(max(0.0, deadline - time.monotonic()) + _TICK_S, self._expire)

    def _expire(self) -> None:
        self._watch, self._watched = None, math.inf
        now = time.monotonic()
        for pending in self._open:
            if pending.deadline <= now and not pending.answer.done():
                reason = f"the policy had no answer within {self.deadline_s:g} s"
                pending.answer.set_exception(Refused("deadline", reason))
        left = [pending.deadline for pending in self._open if not pending.answer.done()]
        if left:
            self._watch_for(min(left))

    def _work(self) -> None:
        ended = False
        while not ended:
            taken = [self._waiting.get()]
            while len(taken) < self.batch and not self._waiting.empty():  # nobody else takes any
                taken.append(self._waiting.get())
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
                self._calls.append((len(batch), done - now))
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
        for pending, outcome in zip(batch, outcomes, strict=True):
            if pending.answer.done():  # its deadline has passed, or its session is gone
                continue
            if isinstance(outcome, Refused):
                pending.answer.set_exception(outcome)
            else:
                pending.answer.set_result(outcome)
