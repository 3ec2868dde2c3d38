"""The main job from end to end, in minutes: data, co-training, closed-loop evaluation, report.

What it makes is small: an honest first look at the road, not a good policy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from rich.console import Console

from thinkvla.data.generate import GenerateOptions, generate
from thinkvla.evaluate.report import write_report
from thinkvla.evaluate.run import EXPERT, EvaluateOptions, evaluate
from thinkvla.recipes.tabletop import tabletop
from thinkvla.train.loop import train


@dataclass(frozen=True)
class DemoOptions:
    """How much of everything; the defaults take about ten minutes on two cores.

    Attributes:
        output: new folder for data, run, results and report; default: runs/demo-DATE-TIME.
        demonstrations: episodes to generate.
        pictures: scenes to ask questions about.
        steps: optimizer steps of co-training.
        episodes: evaluation episodes of each task.
    """

    output: Path | None = None
    demonstrations: int = 150
    pictures: int = 400
    steps: int = 400
    episodes: int = 2


def demo(options: DemoOptions) -> Path:
    """Run everything and return the path of the report.

    Raises:
        ValueError: the output folder exists.
    """
    console = Console(stderr=True)
    folder = options.output or Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        raise ValueError(f"{folder} exists and is not overwritten; choose another --output or remove it")
    workers = min(2, os.cpu_count() or 1)

    console.rule(f"1/4 demonstrations and questions → {folder / 'data'}")
    data = folder / "data"
    generate(GenerateOptions(data, episodes=options.demonstrations, questions=options.pictures, workers=workers))

    console.rule(f"2/4 co-training → {folder / 'run'}")
    config = replace(tabletop(data=data), output=folder / "run", steps=options.steps, save_every=options.steps)
    config = replace(config, optimizer=replace(config.optimizer, warmup_steps=min(50, options.steps // 10)))
    policy = train(config)

    console.rule(f"3/4 closed loop → {folder / 'policy'}, {folder / 'expert'}")
    results = []
    for checkpoint, name in ((str(policy), "policy"), (EXPERT, "expert")):
        evaluation = EvaluateOptions(
            checkpoint, output=folder / name, episodes=options.episodes, workers=workers, videos=4
        )
        total = evaluate(evaluation).total
        results.append(folder / name)
        console.print(f"{name}: {total.successes} of {total.episodes} episodes succeeded", highlight=False)

    console.rule("4/4 report")
    report = folder / "report.html"
    write_report(report, evaluations=results, training=folder / "run", dataset=data, title="thinkvla demo")
    return report
