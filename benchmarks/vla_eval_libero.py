"""vla-eval's own LIBERO class and ours, timed, for ``libero_harness.py``; run by LIBERO's own interpreter."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from libero.libero import benchmark
from robosuite.utils.binding_utils import MjSim
from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark

from thinkvla.simulators.libero.benchmark import LiberoBenchmark

SPENT: defaultdict[str, float] = defaultdict(float)
"""CPU seconds, of all threads, by what they were spent on; those that MuJoCo's renderer starts too."""


@contextmanager
def spending(name: str) -> Iterator[None]:
    started = time.process_time()
    try:
        yield
    finally:
        SPENT[name] += time.process_time() - started


class Timed:
    """A benchmark class whose resets, steps and observations are timed."""

    def reset(self, task: Any) -> Any:
        if "start" not in SPENT:
            SPENT["start"] = time.process_time()
        with spending("resets"):
            return super().reset(task)  # type: ignore[misc]

    def step(self, action: Any) -> Any:
        with spending("steps"):
            return super().step(action)  # type: ignore[misc]

    def make_obs(self, raw_obs: Any, task: Any) -> Any:
        with spending("observations"):
            return super().make_obs(raw_obs, task)  # type: ignore[misc]

    def get_step_result(self, step_result: Any) -> Any:
        SPENT["all"] = time.process_time()
        SPENT.setdefault("first episode and before", SPENT["all"])
        (Path(os.environ["THINKVLA_TIMES"]) / f"{os.getpid()}.json").write_text(json.dumps(SPENT), "utf-8")
        return super().get_step_result(step_result)  # type: ignore[misc]


class Ours(Timed, LiberoBenchmark):
    """Our class as it is."""


class Upstream(Timed, LIBEROBenchmark):  # type: ignore[misc]  # vla-eval ships no types
    """vla-eval's class as it is, but for two things that the comparison needs.

    It imports torch only to read initial states, which the packaged LIBERO reads without. And fixtures are placed with
    the same seed and as many draws before each episode; its own way, an episode depends on those before it.
    """

    _task_suite: Any
    _env: Any

    def _init_libero(self) -> None:
        if self._task_suite is None:
            self._task_suite = benchmark.get_benchmark_dict()[self.suite]()

    def reset(self, task: Any) -> Any:
        np.random.seed(self.env_seed)
        if self._env is not None:  # of open drawers and the like; each reset adds them again
            added = self._env.env.object_property_initializers
            del added[len({one.name for one in added}) :]
        return super().reset(task)


def _render(self: Any, *arguments: Any, **options: Any) -> Any:
    with spending("rendering, of resets and steps"):
        return _plain_render(self, *arguments, **options)


_plain_render, MjSim.render = MjSim.render, _render
