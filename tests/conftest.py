"""Settings and fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pytest
import torch
from tiny_models import EMBODIMENT, SMALL, build

from thinkvla.backbones.build import BackboneConfig
from thinkvla.checkpoint import save_checkpoint
from thinkvla.data.lerobot_writer import write_episodes
from thinkvla.data.question_writer import write_questions
from thinkvla.diagnose.moments import Moment, moments
from thinkvla.method.config import MethodConfig
from thinkvla.train.config import DataConfig, OptimizerConfig, TrainConfig

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like ``thinkvla data generate``'s: three episodes of noise, with point maps and both question sets."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    with write_episodes(folder / "episodes", EMBODIMENT) as writer:
        for number, length in enumerate((12, 9, 15)):
            images = {
                camera: rng.integers(0, 256, (length, 96, 96, 3), dtype=np.uint8) for camera in EMBODIMENT.cameras
            }
            writer.add_episode(
                images,
                rng.uniform(-1, 1, (length, 7)).astype(np.float32),
                ["put the red cube on the plate", "lift the ball"][number % 2],
                rng.uniform(-0.5, 0.5, (length, 2, 24, 24, 3)).astype(np.float16),
            )
    with write_questions(folder / "spatial_qa") as qa:
        for _ in range(6):
            qa.add_spatial(_image(rng), [_spatial_row()])
    with write_questions(folder / "general_qa") as qa:
        for _ in range(5):
            qa.add_general(
                _image(rng), [{"question": "What colour is the cube?", "answer": "red", "category": "colour"}]
            )
    return folder


@pytest.fixture
def small_run(small_data: Path, tmp_path: Path) -> TrainConfig:
    """Six steps of the full method on the small data, without branch dropout."""
    return TrainConfig(
        output=tmp_path / "run",
        data=DataConfig(
            episodes=(str(small_data / "episodes"),),
            spatial_qa=(str(small_data / "spatial_qa"),),
            general_qa=(str(small_data / "general_qa"),),
            pack_questions=False,
            workers=0,
        ),
        method=replace(SMALL, geometry_dim=48),
        backbone=BackboneConfig("tiny_random"),
        optimizer=OptimizerConfig(backbone_lr=1e-3, head_lr=1e-3, adapter_lr=1e-3, warmup_steps=2),
        steps=6,
        batch_size=2,
        question_batch_size=2,
        save_every=2,
    )


@pytest.fixture(scope="session")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a random policy with all of the method (R7), for the simulator teacher's features."""
    folder = tmp_path_factory.mktemp("checkpoints") / "thinking" / "policy"
    save_checkpoint(folder, *build(replace(SMALL, geometry_dim=48, pooling="attention")))
    return folder


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a random policy with nothing of the method (R1)."""
    folder = tmp_path_factory.mktemp("checkpoints") / "plain" / "policy"
    save_checkpoint(folder, *build(MethodConfig("none", False, False, False, vision_block=2), seed=1))
    return folder


@pytest.fixture(scope="session")
def seen() -> list[Moment]:
    """Three moments of held-out scenes."""
    return moments("object", 3)


def _image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)


def _spatial_row() -> dict[str, str | Sequence[object] | None]:
    return {
        "question": "Which is closer to the camera?",
        "A": "red cube",
        "B": "blue ball",
        "C": None,
        "D": None,
        "answer": "A",
        "answer_name": "red cube",
        "answer_cot": "The red cube is 0.50 meters away. Therefore, the final answer is A.",
        "category": "location_closer_to_camera",
        "bounding_box": [{"bbox_3d": [0.1, 0.2, 0.5], "label": "red cube"}],
        "direction": [],
    }
