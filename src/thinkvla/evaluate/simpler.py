"""SimplerEnv's WidowX tasks among the benchmarks: on ManiSkill3, and the original where a user has it."""

from __future__ import annotations

from typing import Any

from thinkvla.contract import Embodiment
from thinkvla.evaluate.benchmark import Benchmark
from thinkvla.evaluate.options import Evaluation

SUITE = "simpler_widowx"


class Simpler(Benchmark):
    """SimplerEnv, whose files no package has and whose step limits differ between projects."""

    def check(self, options: Evaluation) -> None:
        """Raise ValueError for a layout that there is not, a step limit below 1, and missing assets."""
        super().check(options)
        if options.max_steps is not None and options.max_steps < 1:
            raise ValueError(f"max_steps is {options.max_steps}; it must be at least 1")
        if "assets" in self.takes and options.assets is None:
            raise ValueError(
                f"benchmark '{self.name}' needs SimplerEnv's meshes and photographs, which no package has; give their "
                "folder or archive with --assets (docs/benchmarks.md says where they come from)"
            )

    def entry(self, options: Evaluation, embodiment: Embodiment) -> dict[str, Any]:
        """As for any benchmark; a step limit that is not given is the class's."""
        entry = super().entry(options, embodiment)
        if options.max_steps is None:
            del entry["params"]["max_steps"]
        if options.assets is not None:
            entry["params"]["assets"] = str(options.assets.absolute())
        return entry


SIMPLER = (
    Simpler(
        SUITE,
        "SimplerEnv's four WidowX tasks on ManiSkill3; its numbers are not the original's",
        path="thinkvla.simulators.simpler.benchmark:SimplerBenchmark",
        environment="simpler",
        expert="thinkvla.simulators.simpler.expert_policy:ExpertPolicy",
        takes=frozenset({"first_seed", "assets", "max_steps"}),
        suite=SUITE,
        episodes=24,
        most_episodes=24,
    ),
    Simpler(
        f"{SUITE}_original",
        "the same in the original SimplerEnv, in an environment that its user completes",
        path="thinkvla.simulators.simpler.original:OriginalBenchmark",
        environment="simpler_original",
        takes=frozenset({"first_seed", "max_steps"}),
        suite=SUITE,
        episodes=24,
        most_episodes=24,
    ),
)
