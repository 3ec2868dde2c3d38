"""What happens, counted: for Prometheus, and for the live page."""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from collections.abc import Callable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_RECENT = 1000


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.guards: Tally[str] = Tally()
        self.outcomes: Tally[str] = Tally()
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._latency = Histogram(
            "thinkvla_latency_seconds",
            "From an observation's arrival to its actions.",
            ["protocol"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._inference = Histogram(
            "thinkvla_inference_seconds", "One call of the policy.", buckets=_SECONDS, registry=self.registry
        )
        self._batch = Histogram(
            "thinkvla_batch_size",
            "Observations in one call of the policy.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self._requests = Counter(
            "thinkvla_requests",
            "Observations by what they were answered with: actions, or the code of a refusal.",
            ["protocol", "outcome"],
            registry=self.registry,
        )
        self._guards = Counter(
            "thinkvla_guards",
            "Chunks that a guard changed, held or refused.",
            ["guard", "reaction"],
            registry=self.registry,
        )

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Report a number that is read when it is asked for."""
        Gauge(f"thinkvla_{name}", help_text, registry=self.registry).set_function(value)

    def batch(self, size: int, seconds: float) -> None:
        """One call of the policy."""
        self._batch.observe(size)
        self._inference.observe(seconds)

    def answered(self, protocol: str, seconds: float) -> None:
        """An observation answered with actions."""
        self._latency.labels(protocol).observe(seconds)
        self._recent.append(seconds)
        self.outcome(protocol, "actions")

    def outcome(self, protocol: str, outcome: str) -> None:
        """An observation answered with ``actions`` or refused with a code."""
        self._requests.labels(protocol, outcome).inc()
        self.outcomes[outcome] += 1

    def guard(self, guard: str, reaction: str) -> None:
        """A guard that did something."""
        self._guards.labels(guard, reaction).inc()
        self.guards[f"{guard}: {reaction}"] += 1

    def percentiles(self) -> dict[str, float]:
        """Milliseconds of the last thousand answers: p50, p95, p99; empty before the first."""
        if not self._recent:
            return {}
        values = np.percentile(np.asarray(self._recent) * 1000, (50, 95, 99))
        return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}

    def exposition(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)
