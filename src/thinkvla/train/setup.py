"""From a configuration to the things a run needs: policy, preprocessor and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thinkvla.backbones.build import build_backbone
from thinkvla.checkpoint import load_checkpoint
from thinkvla.contract import Normalization
from thinkvla.data.embodiments import EmbodimentSpec, find_spec
from thinkvla.data.hub import find_source
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.spatial_qa import QADataset
from thinkvla.data.statistics import VectorStatistics
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import new_tokens
from thinkvla.preprocessor import ActionNormalizer, Preprocessor, Robot
from thinkvla.teachers.cache import FeatureCache, build_cache
from thinkvla.teachers.registry import build_teacher
from thinkvla.train.config import DataConfig, TrainConfig
from thinkvla.train.mixture import CoTrainingData
from thinkvla.train.robot_stream import RobotSource, RobotStream

GRIPPER = (6,)
"""The dimension that is not normalized in data sets that need no specification."""


def open_episodes(data: DataConfig) -> tuple[EpisodeDataset, ...]:
    """The demonstrations of a run, one data set each, fetched from the Hub where that is what is asked for.

    Raises:
        ValueError: a data set is missing or broken, or does not fit its embodiment.
    """
    specs: list[EmbodimentSpec | None] = [find_spec(name) for name in data.embodiments] or [None]
    if len(specs) == 1:
        specs *= len(data.episodes)
    sources = [find_source(address) for address in data.episodes]
    return tuple(
        EpisodeDataset(source.path, spec=spec, revision=source.revision, decode_once=data.decode_once)
        for source, spec in zip(sources, specs, strict=True)
    )


def describe_data(data: DataConfig, episodes: Sequence[EpisodeDataset]) -> list[dict[str, Any]]:
    """What a run was trained on, JSON-ready: one entry a data set."""
    weights = data.weights or [None] * len(episodes)
    return [
        {
            "source": address,
            "path": str(one.path.absolute()),
            "revision": one.revision,
            "fingerprint": one.fingerprint,
            "embodiment": one.embodiment.name,
            "episodes": len(one.episodes),
            "frames": len(one),
            "weight": weight,
        }
        for address, one, weight in zip(data.episodes, episodes, weights, strict=True)
    ]


def robots(data: DataConfig, episodes: Sequence[EpisodeDataset]) -> list[Robot]:
    """The embodiments of the data sets, each with a normalization by the statistics of all its data sets.

    Raises:
        ValueError: data sets name one embodiment and mean different ones, or normalize it differently.
    """
    groups: dict[str, list[EpisodeDataset]] = {}
    for one in episodes:
        groups.setdefault(one.embodiment.name, []).append(one)
    return [_robot(data, members) for members in groups.values()]


def _robot(data: DataConfig, members: Sequence[EpisodeDataset]) -> Robot:
    first = members[0]
    for one in members[1:]:
        ours, theirs = first.embodiment.to_dict(), one.embodiment.to_dict()
        differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        if not differing and _normalization(data, one) != _normalization(data, first):
            differing = ["normalization"]
        if differing:
            raise ValueError(
                f"{first.path} and {one.path} are both of the embodiment '{first.embodiment.name}', but differ in its "
                f"{', '.join(differing)}; correct one, or give them names of their own"
            )
    mode, raw = _normalization(data, first)
    return Robot(first.embodiment, ActionNormalizer.of(mode, _action_statistics(members), first.embodiment, raw))


def _normalization(data: DataConfig, episodes: EpisodeDataset) -> tuple[Normalization, tuple[int, ...]]:
    """Mode and raw dimensions for a data set."""
    if episodes.spec is None:
        return data.normalization or "min_max", GRIPPER
    return data.normalization or episodes.spec.normalization, episodes.spec.raw


def _action_statistics(members: Sequence[EpisodeDataset]) -> dict[str, NDArray[np.float64]]:
    """Statistics of the actions of all frames of several data sets, exactly."""
    if len(members) == 1:
        return dict(members[0].statistics["action"].values)
    gatherer = VectorStatistics()
    for one in members:
        gatherer.add(one.all_actions)
    return dict(gatherer.result().values)


def build_policy(config: TrainConfig, episodes: Sequence[EpisodeDataset]) -> tuple[ThinkVLA, Preprocessor]:
    """The policy a run begins with, for the embodiments of ``episodes``, and its preprocessor.

    Raises:
        ValueError: the method's action size is not the data's, the embodiments do not fit one policy, or
            ``config.start`` is a policy of another method or for another robot.
    """
    for one in episodes:
        if config.method.action_dim != one.embodiment.action_dim:
            raise ValueError(
                f"method.action_dim is {config.method.action_dim}, but actions in {one.path} have "
                f"{one.embodiment.action_dim} values"
            )
    torch.manual_seed(config.seed)
    if config.start is not None:
        return _continue_policy(config, config.start, episodes)
    robot, *others = robots(config.data, episodes)
    parts = build_backbone(config.backbone, new_tokens(config.method))
    preprocessor = Preprocessor(
        robot.embodiment,
        config.method,
        robot.normalizer,
        parts.tokenizer,
        parts.image_processor,
        config.action_text,
        config.reasoning_text,
        others,
    )
    prompts = preprocessor.prompts
    policy = ThinkVLA(parts.backbone, config.method, tuple(prompts.anchor), tuple(prompts.queries))
    return policy, preprocessor


def _continue_policy(
    config: TrainConfig, folder: Path, episodes: Sequence[EpisodeDataset]
) -> tuple[ThinkVLA, Preprocessor]:
    """An earlier policy, to be trained further."""
    policy, preprocessor = load_checkpoint(folder, config.backbone.attention)
    if policy.config != config.method:
        now, then = asdict(config.method), asdict(policy.config)
        changed = ", ".join(f"{name} ({then[name]} there, {now[name]} here)" for name in now if now[name] != then[name])
        raise ValueError(f"start: the policy in {folder} has another method: {changed}; use the recipe that made it")
    for one in episodes:
        name = one.embodiment.name
        if name not in preprocessor.robots or preprocessor.robots[name].embodiment != one.embodiment:
            raise ValueError(
                f"start: the policy in {folder} is for {sorted(preprocessor.robots)}, the data in {one.path} are of "
                f"'{name}' or of another version of it"
            )
    return policy, preprocessor


def geometry_features(config: TrainConfig, episodes: EpisodeDataset) -> FeatureCache | None:
    """The geometry teacher's features of all frames, computed now unless cached; None without the adapter."""
    if not config.method.geometry_adapter:
        return None
    teacher = build_teacher(config.data.teacher, config.data.teacher_weights, episodes.embodiment.image_size)
    if config.method.geometry_dim != teacher.dim:
        raise ValueError(
            f"method.geometry_dim is {config.method.geometry_dim}, but the teacher '{config.data.teacher}' gives "
            f"features of size {teacher.dim}; set it to that"
        )
    return build_cache(teacher, episodes, episodes.cache / f"geometry-{teacher.fingerprint}-{episodes.fingerprint}.npy")


def question_sets(config: TrainConfig) -> list[QADataset]:
    """Question sets of the run: none, general, or spatial and general."""
    data = config.data
    wanted = {"none": (), "2d": (data.general_qa,), "3d": (data.spatial_qa, data.general_qa)}[config.method.qa_data]
    return [QADataset(path) for path in wanted if path is not None]


def robot_stream(config: TrainConfig, episodes: Sequence[EpisodeDataset]) -> RobotStream:
    """Demonstrations of the whole run, with the teacher's features where the method wants them."""
    held_out = config.data.held_out
    sources = [RobotSource.of(one, geometry_features(config, one), held_out) for one in episodes]
    return RobotStream(sources, config.data.weights, chunk=config.method.chunk, seed=config.seed)


def co_training_data(
    config: TrainConfig, episodes: Sequence[EpisodeDataset], preprocessor: Preprocessor, process: tuple[int, int]
) -> CoTrainingData:
    """Micro-batches of the whole run for one process."""
    return CoTrainingData(
        preprocessor,
        robot_stream(config, episodes),
        question_sets(config),
        spatial_share=config.data.spatial_share,
        batch_size=config.batch_size,
        question_batch_size=config.question_batch_size,
        seed=config.seed,
        process=process,
        length=config.steps * config.accumulation,
    )
