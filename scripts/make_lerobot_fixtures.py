"""Write the small data sets of ``tests/data/fixtures`` with LeRobot itself, and what LeRobot's reader says of them.

Runs in an environment of LeRobot's own, which this project's cannot be:

    python -m venv lerobot && lerobot/bin/pip install 'lerobot==0.4.4'
    lerobot/bin/pip install --no-deps --target lerobot/old 'lerobot==0.3.3' 'datasets==3.6.0'
    lerobot/bin/python scripts/make_lerobot_fixtures.py write tests/data/fixtures/lerobot_v30
    PYTHONPATH=lerobot/old lerobot/bin/python scripts/make_lerobot_fixtures.py write tests/data/fixtures/lerobot_v21
    lerobot/bin/python scripts/make_lerobot_fixtures.py read FOLDER REFERENCE.npz       # any data set, ours too

0.4.4 writes version 3.0 of the format and 0.3.3 version 2.1. The front camera is a video with LeRobot's default codec,
the wrist camera compressed images in the table, channels first.
"""

from __future__ import annotations

import inspect
import shutil
import sys
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

FPS = 20
LENGTHS = (10, 8, 12)
HORIZON = 4
TASKS = ("put the bowl on the stove", "open the drawer")
PICTURES = (0, 5, 9, 10, 17, 18, 29)
FRONT, WRIST = "observation.images.image", "observation.images.wrist_image"
NAMES = ["x", "y", "z", "rx", "ry", "rz", "gripper"]
FEATURES = {
    FRONT: {"dtype": "video", "shape": (64, 64, 3), "names": ["height", "width", "rgb"]},
    WRIST: {"dtype": "image", "shape": (3, 64, 64), "names": ["channels", "height", "width"]},
    "observation.state": {"dtype": "float32", "shape": (8,), "names": {"motors": [*NAMES, "gripper_2"]}},
    "action": {"dtype": "float32", "shape": (7,), "names": {"motors": NAMES}},
}


def picture(episode: int, step: int, shift: int) -> np.ndarray:
    """A block that moves over a gradient, (64, 64, 3) uint8."""
    rows, columns = np.mgrid[0:64, 0:64]
    image = np.stack([rows * 2, columns * 2, np.full_like(rows, 40 + 60 * episode)], axis=2).astype(np.uint8)
    image[16 * episode : 16 * episode + 16, 4 * step : 4 * step + 16] = (220, 40 + shift, 30)
    return image


def write(folder: Path) -> None:
    """Three short episodes of two tasks, as this LeRobot writes them."""
    dataset = LeRobotDataset.create("thinkvla/fixture", FPS, FEATURES, root=folder, robot_type="panda", use_videos=True)
    rng = np.random.default_rng(0)
    old = "task" in inspect.signature(dataset.add_frame).parameters
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            action = rng.uniform(-0.9, 0.9, 7).astype(np.float32)
            action[6] = float(step % 4 < 2)
            frame = {
                FRONT: picture(episode, step, 0),
                WRIST: picture(episode, step, 100),
                "observation.state": rng.normal(size=8).astype(np.float32),
                "action": action,
            }
            task = TASKS[episode % 2]
            dataset.add_frame(frame, task=task) if old else dataset.add_frame(frame | {"task": task})
        dataset.save_episode()
    if not old:
        dataset.finalize()
    shutil.rmtree(folder / "images", ignore_errors=True)


def read(folder: Path, reference: Path) -> None:
    """Every frame of a data set by LeRobot's reader, images of a few."""
    import json

    info = json.loads((folder / "meta/info.json").read_text())
    cameras = [key for key, feature in info["features"].items() if feature["dtype"] in ("video", "image")]
    steps = [step / info["fps"] for step in range(HORIZON)]
    dataset = LeRobotDataset("thinkvla/fixture", root=folder, delta_timestamps={"action": steps}, video_backend="pyav")
    rows = [dataset[index] for index in range(len(dataset))]
    values = {
        "action": np.stack([row["action"].numpy() for row in rows]),
        "action_is_pad": np.stack([row["action_is_pad"].numpy() for row in rows]),
        "timestamp": np.stack([row["timestamp"].numpy() for row in rows]).reshape(-1),
        "frame_index": np.array([int(row["frame_index"]) for row in rows]),
        "episode_index": np.array([int(row["episode_index"]) for row in rows]),
        "task": np.array([row["task"] for row in rows]),
        "pictures": np.array([index for index in PICTURES if index < len(rows)]),
    }
    for key in cameras:
        chosen = [(rows[index][key].permute(1, 2, 0) * 255).round() for index in values["pictures"]]
        values[key] = np.stack([image.numpy().astype(np.uint8) for image in chosen])
    np.savez_compressed(reference, **values)
    print(f"{folder}: {len(rows)} frames, {info['codebase_version']}")


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    {"write": write, "read": read}[command](*map(Path, paths))
