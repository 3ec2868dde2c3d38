"""From an observation to actions that may be sent, whatever protocol it came by."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thinkvla.contract import Actions, Observation
from thinkvla.serve.action_guard import ActionGuard, Guarded
from thinkvla.serve.batching import Batcher
from thinkvla.serve.faults import Refused
from thinkvla.serve.frames import EncodedImage
from thinkvla.serve.greeting import Contract
from thinkvla.serve.metrics import Metrics
from thinkvla.serve.observation_guard import ObservationGuard, Seen, decoded_images
from thinkvla.serve.options import GuardOptions

logger = logging.getLogger(__name__)
_PICTURE_THREADS = 2
_LOG_EVERY = 100
_UNANSWERED = ("deadline", "failed")
"""Refusals of the batcher that the guard ``no_answer`` stands for."""


@dataclass(frozen=True)
class Request:
    """One observation as it came.

    Attributes:
        images: camera → picture, an array or compressed.
        instruction: the task in words.
        timestamp: when the images were taken, seconds since the epoch; None if the client does not say.
        last_action: (A,) what the robot executed last; None if the client does not say.
        known: it differs from the session's last fit request in nothing but the contents of arrays.
    """

    images: Mapping[str, Any]
    instruction: str
    timestamp: float | None = None
    last_action: Actions | None = None
    known: bool = False


@dataclass(frozen=True)
class Served:
    """Actions for a request.

    Attributes:
        actions: float32 (C, A).
        guards: guard that acted → what it did.
        held: whether some steps hold the robot still.
        timing: milliseconds: waiting, in the policy, in all.
    """

    actions: Actions
    guards: dict[str, str]
    held: bool
    timing: dict[str, float]


@dataclass(frozen=True)
class Glimpse:
    """The latest observation and answer, for the live page."""

    session: str
    observation: Observation
    served: Served


@dataclass(eq=False)
class Session:
    """What the server remembers of one connection.

    Attributes:
        name: for the log.
        protocol: known from the first message on.
        seen: by its cameras.
        last: (A,) the action that was executed last, as far as is known.
        ready: actions of a chunk that are given out one by one (vla-eval).
        warned: how often each guard acted.
        known: its last observation was fit to act on, in everything but the contents of arrays.
        unsettled: what was answered, and is to be accounted for when there is time.
    """

    name: str
    protocol: str = ""
    seen: Seen = field(default_factory=Seen)
    last: Actions | None = None
    ready: deque[Actions] = field(default_factory=deque)
    warned: dict[str, int] = field(default_factory=dict)
    known: bool = False
    unsettled: Glimpse | None = None

    def restart(self) -> None:
        """Forget the episode that was."""
        self.seen, self.last = Seen(), None
        self.ready.clear()


class Service:
    """One policy with its guards.

    Args:
        contract: what the policy is served as.
        options: of the guards.
        batcher: shares the policy.
        metrics: counts.
    """

    def __init__(self, contract: Contract, options: GuardOptions, batcher: Batcher, metrics: Metrics) -> None:
        self.contract, self.options, self.batcher, self.metrics = contract, options, batcher, metrics
        self.observations = ObservationGuard(contract.embodiment, options)
        self.actions = ActionGuard(contract.embodiment, options)
        self.latest: Glimpse | None = None
        self._pictures = ThreadPoolExecutor(_PICTURE_THREADS, thread_name_prefix="pictures")

    async def answer(self, session: Session, request: Request, received: float, *, simulated: bool = False) -> Served:
        """Actions for a request; what is not needed for them is left to ``settle``.

        Args:
            session: that it came by.
            request: what came.
            received: when it came (``time.monotonic``).
            simulated: the world stands still while the policy thinks, so there is no deadline, and its cameras may too;
                where a robot would be held still, it is refused.

        Raises:
            Refused: with the reason that the client is told.
        """
        self.settle(session)
        observation = Observation(await self._images(request.images), request.instruction)
        self.observations.check(observation, request.timestamp, session.seen, known=request.known, simulated=simulated)
        session.known = True
        if request.last_action is not None:
            session.last = self._executed(request.last_action)
        served = await self._act(session, observation, received, simulated)
        if simulated and served.held:
            what = ", ".join(served.guards)
            raise Refused(
                "held", f"a robot would be held still now ({what}); a benchmark must not count that as acting"
            )
        session.last = served.actions[self.contract.execute - 1]
        session.unsettled = Glimpse(session.name, observation, served)
        return served

    def settle(self, session: Session) -> None:
        """Account for the session's last answer: metrics, the live page, and what its cameras have shown."""
        if (glimpse := session.unsettled) is None:
            return
        session.unsettled = None
        self.metrics.answered(session.protocol, glimpse.served.timing["total_ms"] / 1000)
        self.latest = glimpse
        self.observations.settle(session.seen)
        self.batcher.settle()

    def refused(self, session: Session, refused: Refused) -> None:
        """Count and log a refusal that a client is told."""
        self.metrics.outcome(session.protocol or "unknown", refused.code)
        if refused.code not in ("busy", *_UNANSWERED):
            self._count(session, refused.code, "refuse", refused.reason)

    def close(self) -> None:
        """End the threads."""
        self.batcher.close()
        self._pictures.shutdown(wait=False)

    async def _images(self, images: Mapping[str, Any]) -> Mapping[str, Any]:
        if not any(isinstance(image, EncodedImage) for image in images.values()):
            return images
        size = self.contract.embodiment.image_size
        return await asyncio.get_running_loop().run_in_executor(self._pictures, decoded_images, images, size)

    async def _act(self, session: Session, observation: Observation, received: float, simulated: bool) -> Served:
        steps = self.contract.chunk
        waited = inferred = 0.0
        try:
            pending = await self.batcher.act(observation, None if simulated else received)
        except Refused as refused:
            if refused.code not in _UNANSWERED:
                raise
            reaction = self.options.no_answer
            self._count(session, "no_answer", reaction, refused.reason)
            if reaction == "refuse":
                raise
            guarded = Guarded(self.actions.hold(session.last, steps), {"no_answer": "hold"}, held_from=0)
        else:
            waited, inferred = pending.started - pending.submitted, pending.ended - pending.started
            guarded = self.actions.check(pending.answer.result(), session.last)
            for guard, done in guarded.guards.items():
                self._count(session, guard, done, "of this chunk's actions")
        total = time.monotonic() - received
        timing = {"queue_ms": waited * 1000, "infer_ms": inferred * 1000, "total_ms": total * 1000}
        return Served(guarded.actions, guarded.guards, guarded.held_from < steps, timing)

    def _executed(self, action: Actions) -> Actions:
        expected = (self.contract.embodiment.action_dim,)
        if action.shape != expected or action.dtype.kind != "f" or not np.isfinite(action).all():
            raise Refused("observation", f"'last_action' must be finite floats of shape {expected}")
        return np.clip(action, self.actions.low, self.actions.high).astype(np.float32)

    def _count(self, session: Session, guard: str, reaction: str, why: str) -> None:
        """Count a guard's action, and log it: the first of a session, and then every hundredth."""
        self.metrics.guard(guard, reaction)
        count = session.warned[guard] = session.warned.get(guard, 0) + 1
        if count % _LOG_EVERY == 1:
            logger.warning("%s: guard %s: %s (%s; number %d)", session.name, guard, reaction, why, count)
