"""From a configuration to the things a run needs: policy, preprocessor and data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from thinkvla.backbones.build import build_backbone
from thinkvla.checkpoint import load_checkpoint
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.spatial_qa import QADataset
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import new_tokens
from thinkvla.preprocessor import ActionNormalizer, Preprocessor, prepare_images
from thinkvla.teachers.cache import FeatureCache, build_cache
from thinkvla.teachers.grid import no_finer
from thinkvla.teachers.registry import build_teacher
from thinkvla.train.config import TrainConfig
from thinkvla.train.mixture import CoTrainingData


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


def geometry_features(config: TrainConfig, episodes: EpisodeDataset, grid: tuple[int, int]) -> FeatureCache | None:
    """The geometry teacher's features of all frames, computed now unless cached; None without the adapter.

    Args:
        config: of the run.
        episodes: whose frames.
        grid: (h, w) patches of a view in the policy; a finer teacher is kept on this grid.
    """
    if not config.method.geometry_adapter:
        return None
    teacher = build_teacher(config.data.teacher, config.data.teacher_weights, episodes.embodiment.image_size)
    if config.method.geometry_dim != teacher.dim:
        raise ValueError(
            f"method.geometry_dim is {config.method.geometry_dim}, but the teacher '{config.data.teacher}' gives "
            f"features of size {teacher.dim}; set it to that"
        )
    kept = no_finer(teacher, grid)
    return build_cache(kept, episodes, episodes.path / ".cache" / f"geometry-{kept.fingerprint}-{episodes.fingerprint}")


def patch_grid(preprocessor: Preprocessor) -> tuple[int, int]:
    """(h, w) patches that the policy's image pipeline makes of a view."""
    blank = np.zeros((*preprocessor.embodiment.image_size, 3), np.uint8)
    _, grids, _ = prepare_images(preprocessor.image_processor, [blank])
    assert grids is not None, "there is a picture"
    _, rows, columns = grids[0].tolist()
    return rows, columns


def question_sets(config: TrainConfig) -> list[QADataset]:
    """Question sets of the run: none, general, or spatial and general."""
    data = config.data
    wanted = {"none": (), "2d": (data.general_qa,), "3d": (data.spatial_qa, data.general_qa)}[config.method.qa_data]
    return [QADataset(path) for path in wanted if path is not None]


def co_training_data(
    config: TrainConfig, episodes: EpisodeDataset, preprocessor: Preprocessor, process: tuple[int, int]
) -> CoTrainingData:
    """Micro-batches of the whole run for one process."""
    return CoTrainingData(
        preprocessor,
        episodes,
        geometry_features(config, episodes, patch_grid(preprocessor)),
        question_sets(config),
        spatial_share=config.data.spatial_share,
        chunk=config.method.chunk,
        batch_size=config.batch_size,
        question_batch_size=config.question_batch_size,
        seed=config.seed,
        process=process,
        length=config.steps * config.accumulation,
        held_out=config.data.held_out,
    )
