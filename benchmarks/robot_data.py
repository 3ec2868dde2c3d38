"""How fast demonstrations reach the training loop: decoded once or one by one, by worker processes.

    OMP_NUM_THREADS=1 python benchmarks/robot_data.py

Batches as the recipes make them, prompts and patches included, of a data set written for the purpose: two views, a
textured block that moves, h264. The tabletop recipe needs about 55 samples a second from its workers.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from torch.utils.data import DataLoader

from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.lerobot_writer import write_episodes
from thinkvla.method.config import MethodConfig
from thinkvla.preprocessor import Preprocessor
from thinkvla.train.mixture import CoTrainingData
from thinkvla.train.robot_stream import RobotSource, RobotStream

EPISODES, LENGTH = 40, 50
BATCH, BATCHES, WARM_UP = 32, 40, 8
WORKERS = (1, 2)


def write_data(path: Path, preprocessor: Preprocessor) -> None:
    """Episodes of the preprocessor's embodiment."""
    rng = np.random.default_rng(0)
    height, width = preprocessor.embodiment.image_size
    table = rng.integers(60, 200, (height, width, 3), dtype=np.uint8)
    block = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    with write_episodes(path, preprocessor.embodiment) as writer:
        for _ in range(EPISODES):
            images = {}
            for camera in preprocessor.embodiment.cameras:
                views = np.repeat(table[None], LENGTH, axis=0)
                for step, view in enumerate(views):
                    row, column = 5 * step % (height - len(block)), 3 * step % (width - len(block))
                    view[row : row + len(block), column : column + len(block)] = block
                images[camera] = views
            actions = rng.uniform(-1, 1, (LENGTH, 7)).astype(np.float32)
            writer.add_episode(images, actions, "put the red cube on the plate")


def samples_per_second(episodes: EpisodeDataset, preprocessor: Preprocessor, workers: int) -> float:
    """Samples a second that ``workers`` processes deliver, once they are at work."""
    stream = RobotStream([RobotSource.of(episodes, None, 0.0)], chunk=8, seed=0)
    data: Any = CoTrainingData(
        preprocessor,
        stream,
        None,
        batch_size=BATCH,
        question_batch_size=1,
        seed=0,
        process=(0, 1),
        length=BATCHES + WARM_UP,
    )
    started = 0.0
    loader: Any = DataLoader(data, batch_size=None, sampler=range(len(data)), num_workers=workers, prefetch_factor=4)
    for number, _ in enumerate(loader, start=1):
        if number == WARM_UP:
            started = time.perf_counter()
    return round(BATCHES * BATCH / (time.perf_counter() - started), 1)


def main() -> None:
    """Measure two sizes of views."""
    results: dict[str, Any] = {}
    for size in (96, 240):
        _, preprocessor = common.build("tiny", MethodConfig("none", False, False, False, vision_block=2), size)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "episodes"
            write_data(path, preprocessor)
            for name, once in (("decoded once", True), ("decoded one by one", False)):
                episodes = EpisodeDataset(path, decode_once=once)
                episodes.frames(0)
                found = {f"{n} workers": samples_per_second(episodes, preprocessor, n) for n in WORKERS}
                results[f"{size} px, {name}"] = found
    common.write("robot_data", {"batch": BATCH, "samples_per_second": results})


if __name__ == "__main__":
    main()
