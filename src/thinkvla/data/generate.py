"""Making a training set in the tabletop simulator: demonstrations, spatial questions, general questions.

Every scene comes from a training seed. Demonstrations use the lower half of them and pictures for questions
the upper half, so that the two never show the same scene. The result depends on the options alone, not on
the number of workers.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from thinkvla.contract import Image
from thinkvla.data.lerobot_writer import write_episodes, write_json
from thinkvla.data.parallel import in_order
from thinkvla.data.question_writer import write_questions
from thinkvla.files import new_folder
from thinkvla.progress import progress
from thinkvla.tabletop.demonstrate import Episode, record_episode
from thinkvla.tabletop.disturbance import NoiseSpec
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.photograph import photograph
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.suites import EVALUATION_ONLY, SUITES, choose_tasks, suite
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World
from thinkvla.versions import versions

MANY_FAILURES = 20
"""Failed demonstrations that may exceed the successful ones before giving up."""
_TRAINING_SUITES = [name for name in SUITES if name not in EVALUATION_ONLY]


@dataclass(frozen=True)
class GenerateOptions:
    """What to make.

    Attributes:
        output: folder to make; ``episodes``, ``spatial_qa``, ``general_qa`` and ``generation.json`` go there.
        suites: task suites, which take turns; so do the tasks of each.
        tasks: names of tasks of these suites; none means all.
        episodes: demonstrations to write; failed attempts are left out and counted.
        per_task: demonstrations of each task, exactly so many, in place of ``episodes``.
        questions: pictures to ask about.
        questions_per_picture: spatial and general questions kept of each picture, at most.
        seed: first training seed to use; sets with far-apart seeds share no scenes.
        noise: disturbance of the demonstrations.
        workers: processes.
    """

    output: Path
    suites: tuple[str, ...] = ("object",)
    tasks: tuple[str, ...] = ()
    episodes: int = 1000
    per_task: int | None = None
    questions: int = 2000
    questions_per_picture: int = 6
    seed: int = 0
    noise: NoiseSpec = field(default_factory=NoiseSpec)
    workers: int = 2


def generate(options: GenerateOptions) -> dict[str, Any]:
    """Make the training set and return what ``generation.json`` records: options, versions, seeds, counts.

    Raises:
        ValueError: the output exists, a suite or task is unknown or for evaluation only, a number is not positive,
            or the training seeds run out before there are enough demonstrations or pictures.
    """
    for name in ("episodes", "per_task", "questions", "questions_per_picture", "workers"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1")
    _chosen(options)
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
    suite: str
    task_name: str
    seed: int

    @property
    def task(self) -> Task:
        """The task; looked up here because a task's sampler does not travel to a worker."""
        return choose_tasks(self.suite, [self.task_name])[0]


def _chosen(options: GenerateOptions) -> dict[str, tuple[str, ...]]:
    """Names of the tasks of each suite; raises ValueError for options that do not fit."""
    known: dict[str, tuple[str, ...]] = {}
    for name in options.suites:
        if name in EVALUATION_ONLY:
            raise ValueError(f"suite '{name}' is for evaluation only; make demonstrations of {_TRAINING_SUITES}")
        known[name] = tuple(task.name for task in suite(name))
    if not known:
        raise ValueError(f"suites is empty; name one or more of {_TRAINING_SUITES}")
    unknown = [task for task in options.tasks if not any(task in names for names in known.values())]
    if unknown:
        raise ValueError(f"suites {list(known)} have no tasks {unknown}; their tasks are {known}")
    wanted = {name: tuple(task for task in names if task in (options.tasks or names)) for name, names in known.items()}
    idle = [name for name, names in wanted.items() if not names]
    if idle:
        raise ValueError(f"none of the tasks {list(options.tasks)} is of suites {idle}; leave those suites out")
    return wanted


def _turns(options: GenerateOptions) -> Iterator[tuple[str, str, int]]:
    """Suite, task and round without end: suites take turns, and in each suite its tasks; a round is all tasks once."""
    chosen = _chosen(options)
    for turn in count():
        for name, tasks in chosen.items():
            yield name, tasks[turn % len(tasks)], turn // len(tasks)


@dataclass(frozen=True)
class _Picture:
    """What a worker gives back for questions: an image and rows about it, possibly none."""

    suite: str
    seed: int
    camera: str
    image: Image
    spatial: list[dict[str, Any]]
    general: list[dict[str, Any]]


def _write_demonstrations(options: GenerateOptions, path: Path) -> dict[str, Any]:
    training = seeds("training")
    half = training[: len(training) // 2][options.seed :]
    turns = takewhile(lambda turn: turn[2] < len(half), _turns(options))
    failed, frames, written, last = [], 0, 0, options.seed
    per_task: dict[str, Counter[str]] = {name: Counter() for name in options.suites}
    wanted = options.episodes
    if options.per_task is not None:
        wanted = options.per_task * sum(len(tasks) for tasks in _chosen(options).values())

    def complete(suite_name: str, task: str) -> bool:
        return per_task[suite_name][task] == options.per_task

    scenes = (_Scene(options, name, task, half[n]) for name, task, n in turns if not complete(name, task))
    with write_episodes(path, TABLETOP) as writer, progress("episode") as display:
        bar = display.add_task("demonstrations", total=wanted)
        for episode in in_order(_demonstrate, scenes, options.workers):
            if complete(episode.suite, episode.task):  # begun before the last one of its task came in
                continue
            last = max(last, episode.seed)
            if episode.success:
                writer.add_episode(episode.images, episode.actions, episode.instruction, episode.point_maps)
                per_task[episode.suite][episode.task] += 1
                frames, written = frames + len(episode.actions), written + 1
                display.advance(bar)
            else:
                failed.append({"suite": episode.suite, "task": episode.task, "seed": episode.seed})
            if written == wanted:
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
        "per_task": {name: dict(sorted(counts.items())) for name, counts in per_task.items()},
        "seeds": [options.seed, last],
    }


def _write_questions(options: GenerateOptions, folder: Path) -> dict[str, Any]:
    training = seeds("training")
    half = training[len(training) // 2 :][options.seed :]
    scenes = (_Scene(options, name, task, seed) for (name, task, _), seed in zip(_turns(options), half, strict=False))
    suites, cameras, spatial, general = (Counter[str]() for _ in range(4))
    pictures, last = 0, -1
    with (
        write_questions(folder / "spatial_qa") as spatial_writer,
        write_questions(folder / "general_qa") as general_writer,
        progress("picture") as display,
    ):
        bar = display.add_task("questions", total=options.questions)
        for picture in in_order(_photograph, scenes, options.workers):
            last = picture.seed
            if not picture.spatial or not picture.general:
                continue
            spatial_writer.add_spatial(picture.image, picture.spatial)
            general_writer.add_general(picture.image, picture.general)
            suites[picture.suite] += 1
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
        "suites": dict(sorted(suites.items())),
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
    return _Picture(scene.suite, scene.seed, picture.camera, picture.image, *kept)
