"""The scripted expert in the simulator's own process: ``python -m thinkvla.simulators.simpler.direct --help``.

What it reaches here is what it must reach through a policy server; the difference would be the wiring's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from thinkvla.progress import progress
from thinkvla.simulators.simpler.assets import Assets, prepare_assets
from thinkvla.simulators.simpler.expert import Expert
from thinkvla.simulators.simpler.tasks import LAYOUTS, MAX_STEPS, Task, choose_tasks
from thinkvla.simulators.simpler.world import World


@dataclass(frozen=True)
class DirectEpisode:
    """How one episode went.

    Attributes:
        task: name of the task.
        layout: its arrangement of objects.
        success: whether the task was done at the last step.
        first: step at which it first was; None if it never was.
    """

    task: str
    layout: int
    success: bool
    first: int | None


def run_expert(task: Task, assets: Assets, layouts: range, max_steps: int) -> Iterator[DirectEpisode]:
    """Run one task's episodes one after the other."""
    world, expert = World(task, assets), Expert(task.name)
    try:
        for layout in layouts:
            world.reset(layout)
            done = [world.step(expert.act(world.state())) for _ in range(max_steps)]
            yield DirectEpisode(task.name, layout, done[-1], done.index(True) + 1 if any(done) else None)
    finally:
        world.close()


def direct(assets: Path, tasks: tuple[str, ...] = (), episodes: int = LAYOUTS, max_steps: int = MAX_STEPS) -> None:
    """Run the expert and print one line of JSON for each episode.

    Args:
        assets: folder or archive of the tasks' files.
        tasks: names of tasks; none means all four.
        episodes: of each task, from layout 0 on.
        max_steps: step limit.
    """
    chosen, files = choose_tasks(tasks), prepare_assets(assets)
    with progress("episodes") as display:
        bar = display.add_task("expert", total=len(chosen) * episodes)
        for task in chosen:
            for episode in run_expert(task, files, range(episodes), max_steps):
                print(json.dumps(asdict(episode)), flush=True)
                display.advance(bar)


if __name__ == "__main__":
    tyro.cli(direct, prog="python -m thinkvla.simulators.simpler.direct")
