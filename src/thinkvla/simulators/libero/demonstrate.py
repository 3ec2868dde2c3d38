"""Recording demonstrations in the simulator: ``python -m thinkvla.simulators.libero.demonstrate JOB WORKER WORKERS``.

JOB is a JSON file with the fields of :class:`~thinkvla.simulators.libero.attempts.Job`. A worker makes its share of
the tasks, attempt after attempt, and writes each attempt as one file beside JOB: ``SUITE-TASK-ATTEMPT.npz`` if it
succeeded, ``.failed`` if not. Attempts that are there already are left alone, so a worker that was stopped goes on.
What an attempt holds depends on the job, its task and its number alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Actions, Image
from thinkvla.environments.parent import end_with_parent
from thinkvla.simulators.libero.attempts import Attempt, Job, attempt_path, attempts
from thinkvla.simulators.libero.expert import Expert
from thinkvla.simulators.libero.motion import OPEN
from thinkvla.simulators.libero.truth import Truth
from thinkvla.simulators.libero.world import CAMERAS, World
from thinkvla.tabletop.disturbance import Disturbance
from thinkvla.tabletop.state import CameraState

START = 0.3
"""Standard deviation of the constant action that displaces the hand before an episode, for ``START_STEPS``."""
START_STEPS = 10
FIRST_SEED = 1_000_000
"""Layouts of demonstrations have this seed and up; the benchmark's own were drawn long before, and are stored."""
ATTEMPTS_PER_TASK = 100_000
BLOCK = 5
"""Episodes of a task before the next task's turn: making a simulator takes longer than a new layout."""
MANY_FAILURES = 20


def record(world: World, job: Job, number: int) -> Attempt | None:
    """The attempt ``number`` at a task, or None when the expert did not do it within the suite's steps."""
    seed = FIRST_SEED + job.seed + world.number * ATTEMPTS_PER_TASK + number
    rng = np.random.default_rng([seed, 1])
    disturbance = Disturbance(job.noise, rng, job.embodiment, OPEN)
    world.reset(seed)
    world.wait()
    start = np.append(np.clip(rng.normal(0.0, START, 6), -1.0, 1.0), OPEN).astype(np.float32)
    for _ in range(START_STEPS):
        world.step(start)
    expert = Expert()
    images: dict[str, list[Image]] = {view: [] for view in CAMERAS}
    actions: list[Actions] = []
    point_maps: list[NDArray[np.float16]] = []
    truths: list[tuple[Truth, tuple[CameraState, ...]]] = []
    while len(actions) < world.max_steps:
        truth = world.truth()
        if all(goal.done for goal in truth.goals):
            break
        views, points = world.render_with_points(job.image_size, job.point_stride)
        for view, image in views.items():
            images[view].append(image)
        point_maps.append(points.astype(np.float16))
        truths.append((truth, world.cameras(job.image_size)))
        actions.append(expert.act(truth))
        world.step(disturbance.apply(actions[-1], held=bool(truth.hand.holding)))
    else:
        return None
    if not actions:
        return None
    chosen = sorted(rng.permutation(len(actions))[: job.moments].tolist())
    return Attempt(
        suite=world.suite,
        task=world.name,
        instruction=world.instruction,
        seed=seed,
        images={view: np.stack(frames) for view, frames in images.items()},
        actions=np.stack(actions),
        point_maps=np.stack(point_maps),
        moments=[
            {
                "frame": frame,
                "truth": truths[frame][0].to_plain(),
                "cameras": [
                    {key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in vars(camera).items()}
                    for camera in truths[frame][1]
                ],
            }
            for frame in chosen
        ],
    )


def work(folder: Path, job: Job, worker: int, workers: int) -> None:
    """Make the attempts of every ``workers``-th task, in turns, until each has its episodes.

    Raises RuntimeError for a task at which the expert fails too often.
    """
    mine = job.turns()[worker::workers]
    for block in range(0, job.episodes, BLOCK):
        wanted = min(block + BLOCK, job.episodes)
        for suite, task in mine:
            if sum(success for _, success in attempts(folder, suite, task)) < wanted:
                with World(suite, task) as world:
                    _fill(folder, job, world, wanted)


def _fill(folder: Path, job: Job, world: World, wanted: int) -> None:
    """Attempt a task until ``wanted`` attempts have succeeded."""
    done = attempts(folder, world.suite, world.number)
    succeeded = sum(success for _, success in done)
    while succeeded < wanted:
        number, failed = len(done), len(done) - succeeded
        if failed > MANY_FAILURES + succeeded:
            raise RuntimeError(
                f"{world.suite}, task {world.number} ({world.instruction}): {failed} attempts failed and {succeeded} "
                "succeeded; the expert cannot do it, leave it out"
            )
        attempt = record(world, job, number)
        path = attempt_path(folder, world.suite, world.number, number)
        if attempt is None:
            path.with_suffix(".failed").touch()
        else:
            attempt.save(path)
        succeeded += attempt is not None
        done.append((number, attempt is not None))


def main(arguments: Sequence[str]) -> None:
    """Run one worker."""
    end_with_parent()
    path, worker, workers = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    work(path.parent, Job.from_json(path.read_text(encoding="utf-8")), worker, workers)


if __name__ == "__main__":
    main(sys.argv[1:])
