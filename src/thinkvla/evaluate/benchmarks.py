"""The table of benchmarks: what ``thinkvla eval CHECKPOINT --benchmark NAME`` can run."""

from __future__ import annotations

import difflib

from thinkvla.evaluate.benchmark import Benchmark
from thinkvla.evaluate.harness import LIBERO
from thinkvla.evaluate.libero import Libero
from thinkvla.evaluate.simpler import SIMPLER
from thinkvla.evaluate.tabletop import TABLETOP

LIBERO_SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")

LIBERO_PLUS_DIMENSIONS = ("camera", "robot", "language", "light", "background", "noise", "layout")

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        TABLETOP,
        *(
            Libero(
                suite,
                f"LIBERO's suite {suite.removeprefix('libero_')}, by the field's protocol",
                path="thinkvla.simulators.libero.benchmark:LiberoBenchmark",
                environment="libero",
                params={"suite": suite},
                takes=frozenset({"first_seed", "perturbation", "level"}),
                expert="thinkvla.simulators.libero.expert_policy:ExpertPolicy",
                harness=LIBERO,
                points=True,
                suite=suite,
                most_episodes=50,
                videos=4,
            )
            for suite in LIBERO_SUITES
        ),
        *SIMPLER,
        *(
            Benchmark(
                f"libero_plus_{dimension}",
                f"the official LIBERO-Plus, dimension {dimension} over LIBERO's four suites",
                path="thinkvla.simulators.libero_plus.benchmark:LiberoPlusBenchmark",
                environment="libero_plus",
                params={"dimension": dimension},
                expert="thinkvla.simulators.libero.expert_policy:ExpertPolicy",
                takes=frozenset({"sample", "as_released"}),
                suite=f"libero_plus_{dimension}",
                episodes=1,
                most_episodes=1,
            )
            for dimension in LIBERO_PLUS_DIMENSIONS
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
