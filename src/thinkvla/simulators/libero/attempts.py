"""What a worker records and the generator reads: a job, and one file for each attempt at a task."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Actions, Embodiment, Image
from thinkvla.data.embodiments import SPECIFICATIONS
from thinkvla.files import new_file
from thinkvla.tabletop.disturbance import NoiseSpec

NOISE = NoiseSpec(jitter=0.05, burst=0.5, burst_rate=0.02, burst_steps=6, drop_rate=0.002)
"""At 20 Hz, of actions of which a controller covers a quarter in each step: pushes of 3 cm."""
_ROOM = 64 * 2**20


@dataclass(frozen=True)
class Job:
    """What to record.

    Attributes:
        suites: task suites.
        tasks: the tasks of each suite, by number; none means all ten.
        episodes: demonstrations of each task.
        image_size: (height, width) of the views, pixels.
        point_stride: pixels between two points of a point map.
        moments: moments of each episode whose ground truth is kept, to ask about.
        noise: disturbance of the executed actions.
        seed: of layouts and noise; sets of far-apart seeds share none.
    """

    suites: tuple[str, ...]
    tasks: tuple[int, ...]
    episodes: int
    image_size: tuple[int, int]
    point_stride: int
    moments: int
    noise: NoiseSpec = field(default_factory=lambda: NOISE)
    seed: int = 0

    @property
    def embodiment(self) -> Embodiment:
        """What the recorded images and actions mean: ``libero`` with views of another size."""
        published = SPECIFICATIONS["libero"].embodiment(20.0)
        return Embodiment(**{**vars(published), "image_size": self.image_size})

    def turns(self) -> list[tuple[str, int]]:
        """Suite and number of every task."""
        return [(suite, task) for suite in self.suites for task in (self.tasks or range(10))]

    def to_json(self) -> str:
        """As text; :meth:`from_json` reads it."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Job:
        """The inverse of :meth:`to_json`."""
        written: dict[str, Any] = json.loads(text)
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in written.items()}
        return Job(**{**values, "noise": NoiseSpec(**values["noise"])})


@dataclass(frozen=True)
class Attempt:
    """A demonstration of T steps; row t of everything belongs to the moment before action t.

    Attributes:
        suite: suite of the task.
        task: name of the task.
        instruction: what the robot was told.
        seed: of the layout and the noise.
        images: view → uint8 (T, H, W, 3).
        actions: float32 (T, 7), the expert's clean actions.
        point_maps: float16 (T, V, h, w, 3), metres from the robot's base.
        moments: dictionaries with ``frame``, ``truth`` and ``cameras`` (plain values), to ask about.
    """

    suite: str
    task: str
    instruction: str
    seed: int
    images: dict[str, Image]
    actions: Actions
    point_maps: NDArray[np.float16]
    moments: list[dict[str, Any]]

    def save(self, path: Path) -> None:
        """Write it; the file has its name only when it is complete."""
        about = {key: getattr(self, key) for key in ("suite", "task", "instruction", "seed", "moments")}
        images = {f"images_{view}": frames for view, frames in self.images.items()}
        with new_file(path, _ROOM) as partial, partial.open("wb") as file:
            arrays: dict[str, Any] = {"actions": self.actions, "point_maps": self.point_maps, **images}
            np.savez_compressed(file, about=json.dumps(about), **arrays)

    @staticmethod
    def load(path: Path) -> Attempt:
        """Read what :meth:`save` wrote; raises ValueError for a broken file."""
        try:
            with np.load(path, allow_pickle=False) as found:
                about = json.loads(str(found["about"]))
                images = {view: found[f"images_{view}"] for view in SPECIFICATIONS["libero"].cameras}
                return Attempt(images=images, actions=found["actions"], point_maps=found["point_maps"], **about)
        except (OSError, EOFError, BadZipFile, KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a recorded attempt ({error}); remove it and generate again") from error


def attempt_path(folder: Path, suite: str, task: int, attempt: int) -> Path:
    """File of one attempt; a failed one has the suffix ``.failed`` instead."""
    return folder / f"{suite}-{task:02d}-{attempt:05d}.npz"


def attempts(folder: Path, suite: str, task: int) -> list[tuple[int, bool]]:
    """Attempts at a task that are in ``folder`` without a gap from the first on: number, and whether it succeeded."""
    found = []
    for number in count():
        path = attempt_path(folder, suite, task, number)
        if path.exists():
            found.append((number, True))
        elif path.with_suffix(".failed").exists():
            found.append((number, False))
        else:
            return found
    return found
