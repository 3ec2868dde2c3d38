"""Making a training set in the tabletop simulator: demonstrations, spatial questions, general questions.

Every scene comes from a training seed. Demonstrations use the lower half of them and pictures for questions
the upper half, so that the two never show the same scene. The result depends on the options alone, not on
the number of workers.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from thinkvla.contract import Image
from thinkvla.data.lerobot_writer import write_episodes, write_json
from thinkvla.data.spatial_qa import write_questions
from thinkvla.files import new_folder
from thinkvla.progress import progress
from thinkvla.tabletop.demonstrate import Episode, NoiseSpec, record_episode
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.photograph import photograph
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.suites import choose_tasks
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World
from thinkvla.versions import versions

MANY_FAILURES = 20
"""Failed demonstrations that may exceed the successful ones before giving up."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class GenerateOptions:
    """What to make.

    Attributes:
        output: folder to make; ``episodes``, ``spatial_qa``, ``general_qa`` and ``generation.json`` go there.
        suite: task suite.
        tasks: names of tasks of the suite, which take turns; none means all.
        episodes: demonstrations to write; failed attempts are left out and counted.
        questions: pictures to ask about.
        questions_per_picture: spatial and general questions kept of each picture, at most.
        seed: first training seed to use; sets with far-apart seeds share no scenes.
        noise: disturbance of the demonstrations.
        workers: processes.
    """

    output: Path
    suite: str = "object"
    tasks: tuple[str, ...] = ()
    episodes: int = 1000
    questions: int = 2000
    questions_per_picture: int = 6
    seed: int = 0
    noise: NoiseSpec = field(default_factory=NoiseSpec)
    workers: int = 2


def generate(options: GenerateOptions) -> dict[str, Any]:
    """Make the training set and return what ``generation.json`` records: options, versions, seeds, counts.

    Raises:
        ValueError: the output exists, the suite is unknown, a number is not positive, or the training seeds
            run out before there are enough demonstrations or pictures.
    """
    for name in ("episodes", "questions", "questions_per_picture", "workers"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} is {getattr(options, name)}, expected at least 1")
    choose_tasks(options.suite, options.tasks)
    with new_folder(options.output) as folder:
        demonstrations = _write_demonstrations(options, folder / "episodes")
        questions = _write_questions(options, folder)
        record = {
            "options": dataclasses.asdict(options) | {"output": options.output.name},
            "versions": versions(),
            "demonstrations": demonstrations,
            "questions": questions,
        }
        write_json(folder / "generation.json", record)
    return record


@dataclass(frozen=True)
class _Scene:
    """One scene to work on, sent to a worker."""

    options: GenerateOptions
    number: int
    seed: int

    @property
    def task(self) -> Task:
        """Task ``number`` of those chosen; looked up here because a task's sampler does not travel to a worker."""
        return choose_tasks(self.options.suite, self.options.tasks)[self.number]


@dataclass(frozen=True)
class _Picture:
    """What a worker gives back for questions: an image and rows about it, possibly none."""

    seed: int
    camera: str
    image: Image
    spatial: list[dict[str, Any]]
    general: list[dict[str, Any]]


def _write_demonstrations(options: GenerateOptions, path: Path) -> dict[str, Any]:
    tasks = len(choose_tasks(options.suite, options.tasks))
    training = seeds("training")
    half = training[: len(training) // 2][options.seed :]
    scenes = (_Scene(options, task, seed) for seed in half for task in range(tasks))
    failed, per_task, frames, written, last = [], Counter[str](), 0, 0, -1
    with write_episodes(path, TABLETOP) as writer, progress("episode") as display:
        bar = display.add_task("demonstrations", total=options.episodes)
        for episode in _in_order(_demonstrate, scenes, options.workers):
            last = episode.seed
            if episode.success:
                writer.add_episode(episode.images, episode.actions, episode.instruction, episode.point_maps)
                per_task[episode.task] += 1
                frames, written = frames + len(episode.actions), written + 1
                display.advance(bar)
            else:
                failed.append({"task": episode.task, "seed": episode.seed})
            if written == options.episodes:
                break
            if len(failed) > MANY_FAILURES + written:
                raise ValueError(
                    f"{len(failed)} demonstrations failed and {written} succeeded; noise {options.noise} is too strong "
                    "or the expert cannot do these tasks"
                )
        else:
            raise ValueError(f"training seeds from {options.seed} on gave only {written} demonstrations; ask for fewer")
    return {
        "episodes": written,
        "frames": frames,
        "failed": failed,
        "per_task": dict(sorted(per_task.items())),
        "seeds": [options.seed, last],
    }


def _write_questions(options: GenerateOptions, folder: Path) -> dict[str, Any]:
    tasks = len(choose_tasks(options.suite, options.tasks))
    training = seeds("training")
    half = training[len(training) // 2 :][options.seed :]
    scenes = (_Scene(options, seed % tasks, seed) for seed in half)
    cameras, spatial, general, pictures, last = Counter[str](), Counter[str](), Counter[str](), 0, -1
    with (
        write_questions(folder / "spatial_qa") as spatial_writer,
        write_questions(folder / "general_qa") as general_writer,
        progress("picture") as display,
    ):
        bar = display.add_task("questions", total=options.questions)
        for picture in _in_order(_photograph, scenes, options.workers):
            last = picture.seed
            if not picture.spatial or not picture.general:
                continue
            spatial_writer.add_spatial(picture.image, picture.spatial)
            general_writer.add_general(picture.image, picture.general)
            cameras[picture.camera] += 1
            spatial.update(row["category"] for row in picture.spatial)
            general.update(row["category"] for row in picture.general)
            pictures += 1
            display.advance(bar)
            if pictures == options.questions:
                break
        else:
            raise ValueError(f"training seeds from {half.start} on gave only {pictures} pictures; ask for fewer")
    return {
        "pictures": pictures,
        "cameras": dict(sorted(cameras.items())),
        "spatial": dict(sorted(spatial.items())),
        "general": dict(sorted(general.items())),
        "seeds": [half.start, last],
    }


def _demonstrate(scene: _Scene) -> Episode:
    with World(scene.task) as world:
        return record_episode(world, scene.seed, scene.options.noise)


def _photograph(scene: _Scene) -> _Picture:
    rng = np.random.default_rng([scene.seed, 2])
    picture = photograph(scene.task, scene.seed, rng)
    kept = []
    for rows in (picture.spatial, picture.general):
        candidates = [dataclasses.asdict(row) for row in rows]
        chosen = rng.permutation(len(candidates))[: scene.options.questions_per_picture]
        kept.append([candidates[index] for index in chosen])
    return _Picture(scene.seed, picture.camera, picture.image, *kept)


def _in_order(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Results in the order of the jobs, a few jobs ahead; the jobs may be more than anyone asks results of."""
    if workers == 1:
        yield from map(work, jobs)
        return
    # Spawned, because a forked process cannot use its parent's OpenGL context.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
