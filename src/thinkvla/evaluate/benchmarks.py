"""The table of benchmarks: what ``thinkvla eval CHECKPOINT --benchmark NAME`` can run."""

from __future__ import annotations

import difflib

from thinkvla.evaluate.benchmark import Benchmark
from thinkvla.evaluate.tabletop import TABLETOP

LIBERO_SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        TABLETOP,
        *(
            Benchmark(
                suite,
                f"LIBERO's suite {suite.removeprefix('libero_')}, by the field's protocol",
                path="thinkvla.simulators.libero.benchmark:LiberoBenchmark",
                environment="libero",
                params={"suite": suite},
                expert="thinkvla.simulators.libero.expert_policy:ExpertPolicy",
                suite=suite,
                most_episodes=50,
            )
            for suite in LIBERO_SUITES
        ),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name; raises ValueError when there is none."""
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(BENCHMARKS)}"
        raise ValueError(f"no benchmark '{name}'; {hint}")
    return BENCHMARKS[name]
