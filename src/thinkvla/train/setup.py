"""From a configuration to the things a run needs: policy, preprocessor and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from thinkvla.backbones.build import build_backbone
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.backbones.tuning import prepare_tuning
from thinkvla.checkpoint import load_checkpoint
from thinkvla.contract import Normalization
from thinkvla.data.embodiments import EmbodimentSpec, find_spec
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.recording import fetch_recording
from thinkvla.data.spatial_qa import QADataset
from thinkvla.data.statistics import VectorStatistics
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import new_tokens
from thinkvla.preprocessor import ActionNormalizer, Preprocessor, Robot, limit_pixels, prepare_images
from thinkvla.teachers.cache import build_cache
from thinkvla.teachers.grid import no_finer
from thinkvla.teachers.inputs import TeacherInputs
from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.teachers.registry import build_teacher
from thinkvla.train.config import DataConfig, TrainConfig
from thinkvla.train.mixture import CoTrainingData
from thinkvla.train.precision import matrix_products
from thinkvla.train.question_stream import Mixture, QuestionStream
from thinkvla.train.robot_stream import PerFrame, RobotSource, RobotStream

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
    sources = [fetch_recording(address, spec) for address, spec in zip(data.episodes, specs, strict=True)]
    return tuple(
        EpisodeDataset(source.path, spec=spec, revision=source.revision, decode_once=data.decode_once)
        for source, spec in zip(sources, specs, strict=True)
    )


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

    Its parameters that are not trained take no gradient (``config.backbone.tune``, ``config.backbone.lora``).

    Raises:
        ValueError: the method's action size is not the data's, the embodiments do not fit one policy, ``config.start``
            is a policy of another method or for another robot, or the backbone cannot be read or tuned as asked.
    """
    for one in episodes:
        if config.method.action_dim != one.embodiment.action_dim:
            raise ValueError(
                f"method.action_dim is {config.method.action_dim}, but actions in {one.path} have "
                f"{one.embodiment.action_dim} values"
            )
    torch.manual_seed(config.seed)
    if config.start is not None:
        policy, preprocessor = _continue_policy(config, config.start, episodes)
    else:
        policy, preprocessor = _new_policy(config, episodes)
    prompts = preprocessor.prompts
    assert isinstance(policy.backbone, QwenVL), "backbones of this package are Qwen-VLs"
    prepare_tuning(policy.backbone, config.backbone, (*prompts.anchor, *prompts.queries))
    return policy, preprocessor


def _new_policy(config: TrainConfig, episodes: Sequence[EpisodeDataset]) -> tuple[ThinkVLA, Preprocessor]:
    """A policy over a backbone that knows nothing of robots."""
    parts = build_backbone(config.backbone, new_tokens(config.method))
    preprocessor = new_preprocessor(config, episodes, parts.tokenizer, parts.image_processor)
    prompts = preprocessor.prompts
    policy = ThinkVLA(parts.backbone, config.method, tuple(prompts.anchor), tuple(prompts.queries))
    return policy, preprocessor


def new_preprocessor(
    config: TrainConfig, episodes: Sequence[EpisodeDataset], tokenizer: Any, image_processor: Any
) -> Preprocessor:
    """The preprocessor of a run, over the backbone's tokenizer and image processor."""
    robot, *others = robots(config.data, episodes)
    if config.method.explicit_points:
        size = point_map_size(episodes)
        robot, *others = [replace(r, embodiment=replace(r.embodiment, point_map_size=size)) for r in (robot, *others)]
    if config.data.image_pixels is not None:
        limit_pixels(image_processor, config.data.image_pixels)
    return Preprocessor(
        robot.embodiment,
        config.method,
        robot.normalizer,
        tokenizer,
        image_processor,
        config.action_text,
        config.reasoning_text,
        others,
        config.data.crop,
    )


def point_map_size(episodes: Sequence[EpisodeDataset]) -> tuple[int, int]:
    """(rows, columns) of the point maps of all data sets; raises ValueError where one has none or they differ."""
    sizes = {one.path: one.point_maps(0).shape[1:3] for one in episodes}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"method.explicit_points: point maps of the data sets differ in size: {sizes}; use one size")
    rows, columns = next(iter(sizes.values()))
    return rows, columns


def _continue_policy(
    config: TrainConfig, folder: Path, episodes: Sequence[EpisodeDataset]
) -> tuple[ThinkVLA, Preprocessor]:
    """An earlier policy, to be trained further."""
    policy, preprocessor = load_checkpoint(folder, config.backbone.attention)
    if policy.config != config.method:
        now, then = asdict(config.method), asdict(policy.config)
        changed = ", ".join(f"{name} ({then[name]} there, {now[name]} here)" for name in now if now[name] != then[name])
        raise ValueError(f"start: the policy in {folder} has another method: {changed}; use the recipe that made it")
    if preprocessor.crop != config.data.crop:
        raise ValueError(
            f"start: the policy in {folder} is shown {preprocessor.crop} of a view's area, this run would show "
            f"{config.data.crop}; set data.crop to the former"
        )
    for one in episodes:
        name = one.embodiment.name
        size = point_map_size([one]) if config.method.explicit_points else None
        ours = replace(one.embodiment, point_map_size=size)
        if name not in preprocessor.robots or preprocessor.robots[name].embodiment != ours:
            raise ValueError(
                f"start: the policy in {folder} is for {sorted(preprocessor.robots)}, the data in {one.path} are of "
                f"'{name}' or of another version of it"
            )
    return policy, preprocessor


def geometry_teacher(config: TrainConfig, episodes: EpisodeDataset) -> GeometryTeacher | None:
    """The teacher for the views of ``episodes``; None without the adapter.

    Raises:
        ValueError: its weights do not fit, or its features are of another size than the method expects.
    """
    if not config.method.geometry_adapter:
        return None
    teacher = build_teacher(config.data.teacher, config.data.teacher_weights, episodes.embodiment.image_size)
    if config.method.geometry_dim != teacher.dim:
        raise ValueError(
            f"method.geometry_dim is {config.method.geometry_dim}, but the teacher '{config.data.teacher}' gives "
            f"features of size {teacher.dim}; set it to that"
        )
    return teacher


def online_teacher(config: TrainConfig, episodes: Sequence[EpisodeDataset]) -> GeometryTeacher | None:
    """The teacher that is asked in every training step, about the data sets' common image size; None if cached."""
    return geometry_teacher(config, episodes[0]) if config.data.teacher_features == "online" else None


def geometry_of_frames(config: TrainConfig, episodes: EpisodeDataset, grid: tuple[int, int]) -> PerFrame | None:
    """The teacher's features of all frames, computed now unless cached; what it is to be asked where it is online.

    Args:
        config: of the run.
        episodes: whose frames.
        grid: (h, w) patches of a view in the policy; features of a finer teacher are kept on this grid.

    Returns:
        None without the adapter.
    """
    teacher = geometry_teacher(config, episodes)
    if teacher is None:
        return None
    if config.data.teacher_features == "online":
        return TeacherInputs(teacher.wants, episodes)
    kept = no_finer(teacher, grid)
    with matrix_products(rounded=False):  # features are the same whatever precision the run has
        return build_cache(kept, episodes, episodes.cache / f"geometry-{kept.fingerprint}-{episodes.fingerprint}")


def patch_grid(preprocessor: Preprocessor) -> tuple[int, int]:
    """(h, w) patches that the policy's image pipeline makes of a view."""
    blank = np.zeros((*preprocessor.image_size, 3), np.uint8)
    _, grids, _ = prepare_images(preprocessor.image_processor, [blank])
    assert grids is not None, "there is a picture"
    _, rows, columns = grids[0].tolist()
    return rows, columns


def question_stream(config: TrainConfig) -> QuestionStream | None:
    """Questions of the run: general ones, spatial and general ones, or None.

    Raises:
        ValueError: a set cannot be read, or too many of its images cannot.
    """
    data = config.data
    spatial = (data.spatial_qa, data.spatial_weights, data.spatial_share)
    general = (data.general_qa, data.general_weights, 1 - data.spatial_share)
    wanted = {"none": [], "2d": [(False, *general)], "3d": [(True, *spatial), (False, *general)]}[config.method.qa_data]
    if not wanted:
        return None
    mixtures = []
    for kind, addresses, weights, _ in wanted:
        sets = [QADataset(address, data.qa_images, kind) for address in addresses]
        if data.skip_unreadable_images:
            sets = [_readable(one) for one in sets]
        mixtures.append(Mixture.of(sets, weights))
    shares = [share for *_, share in wanted] if len(wanted) > 1 else [1.0]
    return QuestionStream(mixtures, shares, seed=config.seed, packed=data.pack_questions)


def _readable(questions: QADataset) -> QADataset:
    kept = questions.readable()
    if kept.left_out:
        message = f"{kept.source.address}: {kept.left_out} of {len(questions)} rows left out, an image cannot be read"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
    return kept


def robot_stream(config: TrainConfig, episodes: Sequence[EpisodeDataset], grid: tuple[int, int]) -> RobotStream:
    """Demonstrations of the whole run, with the teacher's features (or its inputs) where the method wants them.

    ``grid`` is the policy's own (h, w) of patches a view.
    """
    held_out = config.data.held_out
    sources = [RobotSource.of(one, geometry_of_frames(config, one, grid), held_out) for one in episodes]
    return RobotStream(sources, config.data.weights, chunk=config.method.chunk, seed=config.seed)


def co_training_data(
    config: TrainConfig, episodes: Sequence[EpisodeDataset], preprocessor: Preprocessor, process: tuple[int, int]
) -> CoTrainingData:
    """Micro-batches of the whole run for one process."""
    return CoTrainingData(
        preprocessor,
        robot_stream(config, episodes, patch_grid(preprocessor)),
        question_stream(config),
        batch_size=config.batch_size,
        question_batch_size=config.question_batch_size,
        seed=config.seed,
        process=process,
        length=config.steps * config.accumulation,
    )
