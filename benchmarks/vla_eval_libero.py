"""vla-eval's own LIBERO class, for ``libero_harness.py``; run by LIBERO's own interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
from libero.libero import benchmark
from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark


class Upstream(LIBEROBenchmark):  # type: ignore[misc]  # vla-eval ships no types
    """vla-eval's class as it is, but for two things that the comparison needs.

    It imports torch only to read initial states, which the packaged LIBERO reads without. And fixtures are placed with
    the same seed before each episode; its own way, an episode depends on those before it.
    """

    _task_suite: Any

    def _init_libero(self) -> None:
        if self._task_suite is None:
            self._task_suite = benchmark.get_benchmark_dict()[self.suite]()

    def reset(self, task: Any) -> Any:
        np.random.seed(self.env_seed)
        return super().reset(task)
