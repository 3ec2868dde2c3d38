"""LIBERO among the benchmarks: rollouts filmed in a simulator process of their own, after the evaluation."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from thinkvla.contract import Actions
from thinkvla.environments.process import command, variables
from thinkvla.evaluate.benchmark import Benchmark
from thinkvla.evaluate.options import Evaluation
from thinkvla.evaluate.results import Episode
from thinkvla.evaluate.videos import beside, require_same_end, write_video
from thinkvla.progress import progress

_CAMERAS = ("front", "wrist")
_SIZE = (256, 256)
_EVERY = 2
"""Steps between two pictures, which cost far more than a step."""
_FPS = 10
_REPLAYED = "replayed "


class Libero(Benchmark):
    """A suite of LIBERO."""

    def film(self, options: Evaluation, rollouts: Mapping[Episode, Actions], folder: Path) -> None:
        """Replay episodes in the pictures that LIBERO renders, whatever the policy saw of them.

        Raises RuntimeError when the simulator fails, or a replay ends differently.
        """
        folder.mkdir()
        with TemporaryDirectory() as scratch, progress("videos") as display:
            frames = {episode: Path(scratch) / f"{number}.npz" for number, episode in enumerate(rollouts)}
            job = Path(scratch) / "job.json"
            job.write_text(json.dumps(self._job(options, rollouts, frames)), "utf-8")
            order = display.track(frames, total=len(frames), description="filming")
            for episode, _ in zip(order, self._replayed(job, Path(scratch) / "log"), strict=True):
                with np.load(frames[episode]) as found:
                    require_same_end(episode, bool(found["success"]))
                    pictures = [beside(*views) for views in zip(*(found[view] for view in _CAMERAS), strict=True)]
                write_video(folder / episode.video_name, pictures, fps=_FPS)

    def _job(
        self, options: Evaluation, rollouts: Mapping[Episode, Actions], frames: Mapping[Episode, Path]
    ) -> dict[str, Any]:
        params = {**self.params, **{name: getattr(options, name) for name in self.takes}}
        return {
            "params": params | {"cameras": _CAMERAS, "image_size": _SIZE, "observe_every": _EVERY},
            "episodes": [
                {
                    "task": episode.task,
                    "episode": episode.seed - options.first_seed,
                    "actions": actions.tolist(),
                    "frames": str(frames[episode]),
                }
                for episode, actions in rollouts.items()
            ],
        }

    def _replayed(self, job: Path, log: Path) -> Iterator[None]:
        """Yields each time the simulator has written the frames of an episode, in order."""
        arguments = command(self.environment, "thinkvla.simulators.libero.replay", str(job))
        environment = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", **variables(self.environment)}
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(_REPLAYED):
                    yield
        if process.returncode:
            lines = log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise RuntimeError(f"the simulator that films ended: {lines[-1]}")
