"""LeRobot's batches in thinkvla's words, and an embodiment in LeRobot's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_IMAGES
from torch import Tensor

from thinkvla.contract import Embodiment, Observation
from thinkvla.preprocessor import RobotSample

TASK = "task"
PADDED = f"{ACTION}_is_pad"


def image_key(camera: str) -> str:
    """LeRobot's key of a camera."""
    return f"{OBS_IMAGES}.{camera}"


def features(embodiment: Embodiment) -> tuple[dict[str, PolicyFeature], dict[str, PolicyFeature]]:
    """Inputs and outputs of a policy for an embodiment."""
    shape = (3, *embodiment.image_size)
    inputs = {image_key(camera): PolicyFeature(FeatureType.VISUAL, shape) for camera in embodiment.cameras}
    return inputs, {ACTION: PolicyFeature(FeatureType.ACTION, (embodiment.action_dim,))}


def check_features(
    found: Mapping[str, PolicyFeature], expected: Mapping[str, PolicyFeature], embodiment: Embodiment
) -> None:
    """Raise ValueError unless a data set or robot has what the policy needs; what it has besides is not looked at."""
    for key, feature in expected.items():
        if key not in found:
            raise ValueError(
                f"'{key}' is missing (there are {sorted(found)}), but the policy was trained for embodiment "
                f"'{embodiment.name}', which has it; rename features by LeRobot's rename_map, or train a policy for "
                "this robot"
            )
        if tuple(found[key].shape) != tuple(feature.shape):
            raise ValueError(
                f"'{key}' has shape {tuple(found[key].shape)}, but the policy was trained for embodiment "
                f"'{embodiment.name}' with {tuple(feature.shape)}"
            )


def observations(batch: Mapping[str, Any], embodiment: Embodiment) -> list[Observation]:
    """The B observations of a batch.

    Args:
        batch: ``observation.images.<camera>``, float (B, 3, H, W) in [0, 1] or uint8, and ``task``, B texts or one.
        embodiment: whose cameras are taken.

    Raises:
        ValueError: a key is missing, or an image is not in [0, 1].
    """
    images = {camera: _pictures(batch, image_key(camera)) for camera in embodiment.cameras}
    count = len(next(iter(images.values())))
    tasks = _tasks(batch, count)
    return [Observation({camera: views[i] for camera, views in images.items()}, tasks[i]) for i in range(count)]


def samples(batch: Mapping[str, Any], embodiment: Embodiment) -> list[RobotSample]:
    """The B training samples of a batch, which also has ``action`` (B, C, A) and perhaps ``action_is_pad`` (B, C).

    Raises:
        ValueError: as for :func:`observations`, or there is no chunk of actions.
    """
    if ACTION not in batch or batch[ACTION].ndim != 3:
        raise ValueError(f"the batch needs '{ACTION}' of shape (samples, steps of a chunk, {embodiment.action_dim})")
    actions = batch[ACTION].float().cpu().numpy()
    valid = np.ones(actions.shape[:2], bool) if PADDED not in batch else ~batch[PADDED].cpu().numpy()
    return [
        RobotSample(observation, actions[i], valid[i], None)
        for i, observation in enumerate(observations(batch, embodiment))
    ]


def _pictures(batch: Mapping[str, Any], key: str) -> np.ndarray:
    """uint8 (B, H, W, 3) of a camera."""
    if key not in batch:
        raise ValueError(f"the batch has no '{key}'; it has {sorted(batch)}")
    images_B3HW: Tensor = batch[key]
    if images_B3HW.dtype != torch.uint8:
        low, high = float(images_B3HW.min()), float(images_B3HW.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"'{key}' has values from {low:.3g} to {high:.3g}; expected [0, 1], as LeRobot's data sets give them. "
                "Leave VISUAL at IDENTITY: thinkvla normalizes images itself"
            )
        images_B3HW = (images_B3HW * 255).round().to(torch.uint8)
    return images_B3HW.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _tasks(batch: Mapping[str, Any], count: int) -> Sequence[str]:
    tasks = batch.get(TASK)
    if isinstance(tasks, str):
        return [tasks] * count
    if tasks is None or len(tasks) != count:
        raise ValueError(f"the batch needs '{TASK}', what the robot is asked: a text for each of {count} samples")
    return list(tasks)
