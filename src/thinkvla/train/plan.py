"""What a run is going to be, before it costs anything: ``thinkvla train RECIPE --dry-run``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from thinkvla.backbones.build import BackboneOutline, outline_backbone
from thinkvla.backbones.tuning import prepare_tuning
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.method.batch import QuestionBatch, RobotBatch, Tokens
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import PAD, new_tokens
from thinkvla.preprocessor import Preprocessor
from thinkvla.train.config import TrainConfig, plain
from thinkvla.train.memory import (
    Memory,
    Parameters,
    Size,
    count_parameters,
    expected_memory,
    extrapolate,
    held_bytes,
)
from thinkvla.train.robot_stream import RobotSource, RobotStream
from thinkvla.train.setup import new_preprocessor, open_episodes, question_stream


@dataclass(frozen=True)
class Plan:
    """A run in figures.

    Attributes:
        config: resolved.
        parameters: of the policy.
        memory: that one process will hold.
        frames: demonstrated frames that are trained on.
        questions: rows in the question sets.
        demonstration: (B, L) tokens of a micro-batch's demonstrations, padding included.
        asked: (rows, L) tokens of its questions; None without.
    """

    config: TrainConfig
    parameters: Parameters
    memory: Memory
    frames: int
    questions: int
    demonstration: tuple[int, int]
    asked: tuple[int, int] | None

    def steps_per_epoch(self, processes: int = 1) -> float:
        """Optimizer steps until every frame was seen once."""
        return self.frames / (self.config.batch_size * self.config.accumulation * processes)


def plan_run(config: TrainConfig) -> Plan:
    """Work out a run's figures from its configuration, its data and the backbone's configuration.

    No weights are read and no teacher's features computed; frames and questions of one micro-batch are.

    Raises:
        ValueError: the configuration or the data do not fit, as training would say, or the run continues a policy,
            whose own run says what it takes.
    """
    if config.start is not None:
        raise ValueError(f"start is {config.start}: a dry run plans runs that begin with a backbone; leave it out")
    episodes = open_episodes(config.data)
    outline = outline_backbone(config.backbone, new_tokens(config.method))
    preprocessor = new_preprocessor(config, episodes, outline.tokenizer, outline.image_processor)
    robot, questions, frames, rows = _micro_batch(config, episodes, preprocessor)
    image_token, merge = outline.config.image_token_id, outline.config.vision_config.spatial_merge_size

    def measure(size: Size) -> int:
        tune = config.backbone.tune
        if tune is not None and any(letter.isdigit() for pattern in tune for letter in pattern):
            tune = None  # single blocks: planned as if all were trained, which keeps more
        shallow = replace(
            config, method=replace(config.method, vision_block=0), backbone=replace(config.backbone, tune=tune)
        )
        policy = _policy(outline, shallow, preprocessor, size.layers, size.blocks).to_empty(device="cpu").train()
        policy.anchor_ids.copy_(torch.tensor(preprocessor.prompts.anchor))
        policy.query_ids.copy_(torch.tensor(preprocessor.prompts.queries))
        demonstrations = _demonstrations(robot, size.samples, image_token, merge) if size.samples else None
        asked = _questions(questions, size.questions, image_token, merge) if questions and size.questions else None
        return held_bytes(policy, demonstrations, asked, bf16=config.precision == "bf16")

    parameters = count_parameters(_policy(outline, config, preprocessor))
    asked = None if questions is None else _shape(questions.tokens)
    wanted = Size(outline.layers, outline.blocks, config.batch_size, 0 if asked is None else asked[0])
    memory = expected_memory(parameters, extrapolate(measure, wanted))
    return Plan(config, parameters, memory, frames, rows, _shape(robot.tokens), asked)


def show_plan(plan: Plan, console: Console, processes: Sequence[int] = (1, 8)) -> None:
    """Print the resolved configuration and the run's figures."""
    console.print_json(data=plain(plan.config))
    config, parameters, memory = plan.config, plan.parameters, plan.memory
    table = Table(show_header=False, title="dry run: nothing was trained or written")
    batch = f"{plan.demonstration[0]} demonstrations of {plan.demonstration[1]} tokens"
    if plan.asked is not None:
        batch += f", {config.question_batch_size} questions in {plan.asked[0]} rows of {plan.asked[1]} tokens"
    rows = {
        "parameters of the backbone": f"{parameters.backbone:,}",
        "added by the method": f"{parameters.method:,}",
        "trained": f"{parameters.trained:,}",
        "frozen": f"{parameters.frozen:,}",
        "micro-batch of a process": batch,
        "memory for parameters": _gigabytes(memory.parameters),
        "for gradients": _gigabytes(memory.gradients),
        "for AdamW": _gigabytes(memory.optimizer),
        "for activations": _gigabytes(memory.activations),
        "in all": f"{_gigabytes(memory.total)} a process that holds everything, besides what libraries take",
        "frames": f"{plan.frames:,}",
        "questions": f"{plan.questions:,}",
    }
    for count in processes:
        steps = plan.steps_per_epoch(count)
        rows[f"steps an epoch, {count} process" + ("es" if count > 1 else "")] = (
            f"{steps:,.1f}; {config.steps:,} steps are {config.steps / steps:,.1f} epochs"
        )
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _policy(
    outline: BackboneOutline,
    config: TrainConfig,
    preprocessor: Preprocessor,
    layers: int | None = None,
    blocks: int | None = None,
) -> ThinkVLA:
    """The policy as it would be trained, without memory for its weights."""
    anchor, queries = tuple(preprocessor.prompts.anchor), tuple(preprocessor.prompts.queries)
    with torch.device("meta"):
        backbone = outline.backbone(layers, blocks)
        policy = ThinkVLA(backbone, config.method, anchor, queries)
        prepare_tuning(backbone, config.backbone, (*anchor, *queries))
    return policy


def _micro_batch(
    config: TrainConfig, episodes: Sequence[EpisodeDataset], preprocessor: Preprocessor
) -> tuple[RobotBatch, QuestionBatch | None, int, int]:
    """The run's first micro-batch, with targets of one patch for geometry; frames and questions there are in all."""
    sources = [RobotSource.of(one, None, config.data.held_out) for one in episodes]
    stream = RobotStream(sources, config.data.weights, chunk=config.method.chunk, seed=config.seed)
    robot = stream.batch(range(config.batch_size), preprocessor)
    if config.method.geometry_adapter:
        views = len(episodes[0].embodiment.cameras)
        robot = replace(robot, geometry_BVhwG=torch.zeros(config.batch_size, views, 1, 1, config.method.geometry_dim))
    asked = question_stream(config)
    if asked is None:
        return robot, None, stream.frames, 0
    questions = asked.batch(range(config.question_batch_size), preprocessor)
    return robot, questions, stream.frames, sum(len(rows) for rows in asked.sets)


def _demonstrations(batch: RobotBatch, count: int, image_token: int, merge: int) -> RobotBatch:
    """A batch that repeats the longest demonstration."""
    row, tokens = _repeated(batch.tokens, count, image_token, merge)
    geometry = batch.geometry_BVhwG
    return RobotBatch(
        tokens,
        batch.actions_BCA[row].expand(count, -1, -1),
        batch.valid_BC[row].expand(count, -1),
        None if geometry is None else geometry[row].expand(count, -1, -1, -1, -1),
    )


def _questions(batch: QuestionBatch, count: int, image_token: int, merge: int) -> QuestionBatch:
    """A batch that repeats the longest row of questions."""
    row, tokens = _repeated(batch.tokens, count, image_token, merge)
    return QuestionBatch(tokens, batch.labels_BL[row].expand(count, -1).contiguous())


def _repeated(tokens: Tokens, count: int, image_token: int, merge: int) -> tuple[int, Tokens]:
    """The fullest row of a batch, and a batch of it ``count`` times with its images."""
    row = int((tokens.segments_BL != PAD).sum(dim=1).argmax())
    ids, segments = (_times(t[row], count) for t in (tokens.ids_BL, tokens.segments_BL))
    if tokens.pixels is None or tokens.grids_N3 is None:
        return row, Tokens(ids, segments, None, None)
    patches = tokens.grids_N3.prod(dim=1)
    ends = (patches // merge**2).cumsum(dim=0)  # in language tokens, as rows count them
    before, through = ((tokens.ids_BL[:r] == image_token).sum() for r in (row, row + 1))
    own = (ends > before) & (ends <= through)
    pixels = torch.cat([part for part, mine in zip(tokens.pixels.split(patches.tolist()), own, strict=True) if mine])
    points = None if tokens.points_NhwG is None else tokens.points_NhwG[own].repeat(count, 1, 1, 1)
    return row, Tokens(ids, segments, pixels.repeat(count, 1), tokens.grids_N3[own].repeat(count, 1), points)


def _times(row_L: Tensor, count: int) -> Tensor:
    return row_L.expand(count, -1).contiguous()


def _shape(tokens: Tokens) -> tuple[int, int]:
    rows, length = tokens.ids_BL.shape
    return rows, length


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"
