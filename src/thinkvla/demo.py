"""What the project is for, in minutes: shipped policies in closed loop, then one of them adapted to a new task.

The shipped R7 (the full method) and R1 (a plain VLA) act on held-out scenes of every suite they were trained on. Then
R7 learns a goal it never had, bare pedestals, from demonstrations and questions made on the spot, and is measured on
held-out scenes before and after.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from rich.console import Console

from thinkvla.data.generate import GenerateOptions, generate
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.report import write_report
from thinkvla.evaluate.run import evaluate
from thinkvla.recipes.tabletop import adapt
from thinkvla.train.loop import train

SUITES = ("object", "spatial", "height", "transparent")
"""What the shipped policies were trained on."""
NEW_SUITE = "pedestal"
EXECUTE = 2
"""Actions of a chunk executed before looking again."""


@dataclass(frozen=True)
class DemoOptions:
    """How much of everything; the defaults take about a quarter of an hour on two cores.

    Attributes:
        output: new folder for data, run, results and report; default: runs/demo-DATE-TIME.
        policies: shipped policies to evaluate; the first one is adapted.
        episodes: evaluation episodes of each task of each suite.
        demonstrations: episodes of the new task to learn from.
        pictures: scenes of the new task to ask questions about.
        steps: optimizer steps of the adaptation.
        new_episodes: evaluation episodes of each new task, before and after.
    """

    output: Path | None = None
    policies: tuple[str, ...] = ("tabletop_r7", "tabletop_r1")
    episodes: int = 1
    demonstrations: int = 150
    pictures: int = 150
    steps: int = 300
    new_episodes: int = 2


def demo(options: DemoOptions) -> Path:
    """Run everything and return the path of the report.

    Raises:
        ValueError: the output folder exists, or no policy of such a name is shipped.
    """
    console = Console(stderr=True)
    folder = options.output or Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        raise ValueError(f"{folder} exists and is not overwritten; choose another --output or remove it")
    workers = min(2, os.cpu_count() or 1)

    def measure(policy: str, name: str, suite: str, episodes: int) -> Path:
        output = folder / "results" / name / suite
        evaluation = EvaluateOptions(
            policy, output=output, suite=suite, episodes=episodes, workers=workers, execute=EXECUTE, videos=2
        )
        total = evaluate(evaluation).total
        console.print(
            f"{name} on {suite}: {total.successes} of {total.episodes} episodes succeeded "
            f"(95 % interval {total.low:.0%} to {total.high:.0%})",
            highlight=False,
        )
        return output

    console.rule("1/4 shipped policies in closed loop")
    results = [measure(name, name, suite, options.episodes) for name in options.policies for suite in SUITES]

    console.rule(f"2/4 a new task: demonstrations and questions → {folder / 'data'}")
    data = folder / "data"
    generate(
        GenerateOptions(
            data,
            suites=(NEW_SUITE,),
            episodes=options.demonstrations,
            questions=options.pictures,
            workers=workers,
        )
    )

    console.rule(f"3/4 co-training → {folder / 'run'}")
    first = options.policies[0]
    results.append(measure(first, "before", NEW_SUITE, options.new_episodes))
    config = replace(adapt(first, data), output=folder / "run", steps=options.steps)
    config = replace(config, save_every=options.steps)
    adapted = train(config)
    results.append(measure(str(adapted), "after", NEW_SUITE, options.new_episodes))

    console.rule("4/4 report")
    report = folder / "report.html"
    write_report(report, evaluations=results, training=[folder / "run"], dataset=data, title="thinkvla demo")
    return report
