"""A complete training run as one value; recipes return it and the command line overrides its fields."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from thinkvla.backbones.build import BackboneConfig
from thinkvla.contract import Normalization
from thinkvla.crops import check_area
from thinkvla.method.config import MethodConfig
from thinkvla.method.prompts import ACTION_PROMPT, REASONING_PROMPT
from thinkvla.teachers.registry import TeacherName

Precision = Literal["auto", "float32", "bf16", "bf16_matmul"]
Distribution = Literal["ddp", "fsdp", "zero2"]
TeacherFeatures = Literal["cached", "online"]


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    Attributes:
        episodes: LeRobot data sets of demonstrations, each a folder or ``hf://owner/name@revision``.
        embodiments: how they are read: names of ready-made specifications or JSON files, one for all or one each; none
            where they say it themselves (``meta/embodiment.json``).
        weights: how often each is drawn from; by their frames if not given.
        spatial_qa: sets of spatial reasoning rows (folder, file, or ``hf://owner/name@revision``); needed when
            ``method.qa_data`` is 3d.
        general_qa: sets of general image-text rows, likewise; needed when ``method.qa_data`` is 2d or 3d.
        spatial_weights: how often each of the sets is drawn from; by their rows if not given.
        general_weights: likewise.
        spatial_share: share of spatial rows among the questions when ``method.qa_data`` is 3d.
        qa_images: folders in which images of questions are looked for that are not beside their rows.
        image_pixels: larger images of questions and robot are reduced to this many pixels; by default to the most that
            the backbone's image processor allows.
        skip_unreadable_images: leave out questions of which an image cannot be read, and say how many; an error by
            default, and where they are more than 5 % of a set.
        pack_questions: let questions share rows of a batch, so that less than a tenth of it is padding.
        teacher: geometry teacher: ``simulator`` reads true point maps, ``vggt_tiny``, ``vggt`` and
            ``depth_anything`` see images, the first ships with the package.
        teacher_weights: file or folder of a published teacher's weights.
        teacher_features: ``cached`` beside the episodes before the first step, or computed ``online`` in every step.
        normalization: bounds of the action normalization; by default what the embodiment's specification says, and
            ``min_max`` for data sets that need none.
        crop: share of a view's area that is shown, anywhere in training and in the middle at deployment; 1 is all of
            it.
        held_out: share of the episodes of each data set, the last ones, kept from training; their action error is
            logged with every checkpoint.
        decode_once: decode all images of demonstrations into one file on disk before training; without it each frame is
            decoded from its video when it is needed, for sets too large for that.
        workers: processes that prepare batches; 0 prepares them in the training process.
    """

    episodes: tuple[str, ...]
    embodiments: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    spatial_qa: tuple[str, ...] = ()
    general_qa: tuple[str, ...] = ()
    spatial_weights: tuple[float, ...] = ()
    general_weights: tuple[float, ...] = ()
    spatial_share: float = 0.5
    qa_images: tuple[Path, ...] = ()
    image_pixels: int | None = None
    skip_unreadable_images: bool = False
    pack_questions: bool = True
    teacher: TeacherName = "simulator"
    teacher_weights: Path | None = None
    teacher_features: TeacherFeatures = "cached"
    normalization: Normalization | None = None
    crop: float = 1.0
    held_out: float = 0.0
    decode_once: bool = True
    workers: int = 1

    def __post_init__(self) -> None:
        check_area(self.crop)
        if not 0 <= self.held_out < 1:
            raise ValueError(f"data.held_out is {self.held_out}; expected 0 <= share < 1")
        count = len(self.episodes)
        if count == 0 or len(set(self.episodes)) < count:
            raise ValueError(f"data.episodes is {list(self.episodes)}; expected at least one data set, each once")
        if len(self.embodiments) not in (0, 1, count):
            raise ValueError(
                f"data.embodiments names {len(self.embodiments)} for {count} data sets; expected none, one for all, or "
                "one each"
            )
        if self.weights is not None and (len(self.weights) != count or min(self.weights) <= 0):
            raise ValueError(
                f"data.weights is {list(self.weights)}; expected {count} positive numbers, one for each data set"
            )
        if not 0 <= self.spatial_share <= 1:
            raise ValueError(f"data.spatial_share is {self.spatial_share}; expected 0 <= share <= 1")
        for kind in ("spatial", "general"):
            sets, weights = getattr(self, f"{kind}_qa"), getattr(self, f"{kind}_weights")
            if weights and (len(weights) != len(sets) or min(weights) <= 0):
                raise ValueError(
                    f"data.{kind}_weights are {weights}; expected one positive number for each of the {len(sets)} sets "
                    f"of data.{kind}_qa, or none"
                )


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with one learning rate per part, as the paper's.

    Attributes:
        backbone_lr: of the vision-language model.
        head_lr: of the action head.
        adapter_lr: of everything else.
        floor_lr: the cosine ends here.
        warmup_steps: linear warm-up [open in the paper].
        betas: of AdamW.
        weight_decay: of AdamW.
        clip: largest gradient norm.
    """

    backbone_lr: float = 1e-5
    head_lr: float = 2e-4
    adapter_lr: float = 2.5e-5
    floor_lr: float = 1e-6
    warmup_steps: int = 5000
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-8
    clip: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Attributes:
        output: run folder; must not exist unless the run is resumed.
        data: what is trained on.
        method: the paper's switches.
        backbone: the vision-language model, unless ``start`` is given.
        start: folder of a policy whose weights and preprocessor (normalization included) the run begins with; its
            method must be this run's.
        optimizer: learning rates and schedule.
        steps: optimizer steps.
        batch_size: demonstrations per process and micro-batch.
        question_batch_size: questions per process and micro-batch.
        accumulation: micro-batches per optimizer step.
        precision: ``auto`` is bf16 on a GPU that has it, else float32; parameters stay float32. ``bf16_matmul`` rounds
            only the factors of matrix products (TF32 on a GPU): fast on CPUs with bf16 units.
        distribution: how several processes share the work: with ``ddp`` each holds all of the policy; ``fsdp`` (FSDP2)
            spreads parameters, gradients and optimizer state over them, ``zero2`` (DeepSpeed, which is not among our
            dependencies) gradients and optimizer state. Of no effect on one process.
        seed: of initialization, data order and branch dropout.
        save_every: steps between checkpoints.
        keep: checkpoints kept, newest first.
        action_text: L_action [open in the paper]; ``{chunk}`` becomes the chunk length.
        reasoning_text: L_teacher [open in the paper].
    """

    output: Path
    data: DataConfig
    method: MethodConfig = field(default_factory=MethodConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    start: Path | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 1000
    batch_size: int = 32
    question_batch_size: int = 32
    accumulation: int = 1
    precision: Precision = "auto"
    distribution: Distribution = "ddp"
    seed: int = 0
    save_every: int = 500
    keep: int = 2
    action_text: str = ACTION_PROMPT
    reasoning_text: str = REASONING_PROMPT

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "question_batch_size", "accumulation", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.optimizer.warmup_steps >= self.steps:
            raise ValueError(
                f"optimizer.warmup_steps is {self.optimizer.warmup_steps}, but the run has only {self.steps} steps; "
                "lower the one or raise the other"
            )
        if self.start is not None and self.data.image_pixels is not None:
            raise ValueError("data.image_pixels cannot be changed of the policy that 'start' names; leave it out")
        needed = {"none": (), "2d": ("general_qa",), "3d": ("general_qa", "spatial_qa")}[self.method.qa_data]
        for name in needed:
            if not getattr(self.data, name):
                raise ValueError(
                    f"method.qa_data is '{self.method.qa_data}', which needs data.{name}; give a set of questions, or "
                    "set method.qa_data to none"
                )


def plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON-ready values."""
    values: dict[str, Any] = dataclasses.asdict(config)
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
