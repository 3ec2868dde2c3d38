"""From a configuration to the things a run needs: policy, preprocessor and data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from thinkvla.backbones.build import build_backbone
from thinkvla.checkpoint import load_checkpoint
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.spatial_qa import QADataset
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import new_tokens
from thinkvla.preprocessor import ActionNormalizer, Preprocessor, limit_pixels
from thinkvla.teachers.cache import FeatureCache, build_cache
from thinkvla.teachers.registry import build_teacher
from thinkvla.train.config import TrainConfig
from thinkvla.train.mixture import CoTrainingData
from thinkvla.train.question_stream import Mixture, QuestionStream


def build_policy(config: TrainConfig, episodes: EpisodeDataset) -> tuple[ThinkVLA, Preprocessor]:
    """The policy a run begins with, for the embodiment of ``episodes``, and its preprocessor.

    Raises:
        ValueError: the method's action size is not the data's, or ``config.start`` is a policy of another method or
            for another robot.
    """
    dimension = episodes.embodiment.action_dim
    if config.method.action_dim != dimension:
        raise ValueError(
            f"method.action_dim is {config.method.action_dim}, but actions in {episodes.path} have {dimension} values"
        )
    torch.manual_seed(config.seed)
    if config.start is not None:
        return _continue_policy(config, config.start, episodes)
    parts = build_backbone(config.backbone, new_tokens(config.method))
    if config.data.image_pixels is not None:
        limit_pixels(parts.image_processor, config.data.image_pixels)
    statistics = episodes.statistics["action"].values
    normalizer = ActionNormalizer.of(config.data.normalization, statistics, episodes.embodiment)
    preprocessor = Preprocessor(
        episodes.embodiment,
        config.method,
        normalizer,
        parts.tokenizer,
        parts.image_processor,
        config.action_text,
        config.reasoning_text,
    )
    prompts = preprocessor.prompts
    policy = ThinkVLA(parts.backbone, config.method, tuple(prompts.anchor), tuple(prompts.queries))
    return policy, preprocessor


def _continue_policy(config: TrainConfig, folder: Path, episodes: EpisodeDataset) -> tuple[ThinkVLA, Preprocessor]:
    """An earlier policy, to be trained further."""
    policy, preprocessor = load_checkpoint(folder, config.backbone.attention)
    if policy.config != config.method:
        now, then = asdict(config.method), asdict(policy.config)
        changed = ", ".join(f"{name} ({then[name]} there, {now[name]} here)" for name in now if now[name] != then[name])
        raise ValueError(f"start: the policy in {folder} has another method: {changed}; use the recipe that made it")
    if preprocessor.embodiment != episodes.embodiment:
        raise ValueError(
            f"start: the policy in {folder} is for the embodiment '{preprocessor.embodiment.name}', the data in "
            f"{episodes.path} are of '{episodes.embodiment.name}' or of another version of it"
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
    folder = episodes.path / ".cache"
    return build_cache(teacher, episodes, folder / f"geometry-{teacher.fingerprint}-{episodes.fingerprint}.npy")


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


def co_training_data(
    config: TrainConfig, episodes: EpisodeDataset, preprocessor: Preprocessor, process: tuple[int, int]
) -> CoTrainingData:
    """Micro-batches of the whole run for one process."""
    return CoTrainingData(
        preprocessor,
        episodes,
        geometry_features(config, episodes),
        question_stream(config),
        chunk=config.method.chunk,
        batch_size=config.batch_size,
        question_batch_size=config.question_batch_size,
        seed=config.seed,
        process=process,
        length=config.steps * config.accumulation,
        held_out=config.data.held_out,
    )
