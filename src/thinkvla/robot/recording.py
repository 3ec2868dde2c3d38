"""Every run is written down: a LeRobot data set of one episode, and what happened as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thinkvla.contract import Embodiment
from thinkvla.data.lerobot_writer import write_episodes
from thinkvla.files import new_folder
from thinkvla.robot.loop import Run

EPISODES = "episodes"
SUMMARY = "run.json"


def record(folder: Path, run: Run, embodiment: Embodiment, instruction: str, about: Mapping[str, Any]) -> None:
    """Write ``run.json`` and, unless the run ended before its first step, the data set ``episodes``.

    Args:
        folder: new folder.
        run: what happened; its images are in memory, about 0.15 MB for two views of 160 × 160 a step.
        embodiment: of the robot.
        instruction: what it was asked to do.
        about: further entries of ``run.json``.

    Raises:
        ValueError: the folder exists.
    """
    with new_folder(folder) as partial:
        values = {**about, "instruction": instruction, **run.summary()}
        (partial / SUMMARY).write_text(json.dumps(values, indent=2) + "\n", "utf-8")
        if run.actions:
            with write_episodes(partial / EPISODES, embodiment) as writer:
                images = {camera: np.stack(frames) for camera, frames in run.frames.items()}
                writer.add_episode(images, np.stack(run.actions), instruction)
