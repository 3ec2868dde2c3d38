"""Synthetic robot episodes, free of any simulator: a coloured block moves by the action that is recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Embodiment
from thinkvla.data.lerobot_writer import write_episodes

EMBODIMENT = Embodiment(
    name="blocks",
    cameras=("front", "wrist"),
    image_size=(32, 48),
    control_hz=10.0,
    action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
    action_units=("0.05 m",) * 3 + ("0.5 rad",) * 3 + ("open -1, close 1",),
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
)
LENGTHS = (7, 12, 5, 9)
TASKS = ("push the red block", "push the blue block")
COLOURS = {"front": (220, 40, 30), "wrist": (30, 60, 210)}


class Blocks:
    """One synthetic episode; everything in it can be computed again from its number."""

    def __init__(self, number: int, length: int) -> None:
        rng = np.random.default_rng(number)
        self.actions = rng.uniform(-1, 1, (length, 7)).astype(np.float32)
        self.instruction = TASKS[number % 2]
        self.images = {
            camera: np.stack([self._image(camera, number, step) for step in range(length)]) for camera in COLOURS
        }
        self.point_maps = rng.normal(size=(length, 2, 8, 12, 3)).astype(np.float16)

    @staticmethod
    def _image(camera: str, number: int, step: int) -> NDArray[np.uint8]:
        image = np.full((32, 48, 3), (200, 190, 170), dtype=np.uint8)
        row, column = 2 + 6 * number, 3 * step
        image[row : row + 8, column : column + 10] = COLOURS[camera]
        return image


def sample_episodes() -> list[Blocks]:
    """Four short episodes of two tasks."""
    return [Blocks(number, length) for number, length in enumerate(LENGTHS)]


def write(path: Path, episodes: list[Blocks], max_file_bytes: int = 100 * 2**20, point_maps: bool = True) -> Path:
    """Write synthetic episodes as a data set."""
    with write_episodes(path, EMBODIMENT, max_file_bytes) as writer:
        for episode in episodes:
            points = episode.point_maps if point_maps else None
            writer.add_episode(episode.images, episode.actions, episode.instruction, points)
    return path
