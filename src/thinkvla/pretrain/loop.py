"""Pre-training of the tiny backbone: answers in words, classes of patches, and places of named things.

    L = L_CE + w_patch · L_patch + w_centre · L_centre + w_place · L_place + w_pointing · L_pointing

L_patch is the cross-entropy of the shape and of the colour each patch shows, L_centre the mean L1 distance, in shares
of the picture, to the middle of the thing it shows; both are linear in the vision encoder's last block.
L_place is the mean L1 distance, in shares of the picture, between where things are in each picture and what is read
from hidden states: of a thing, from the token that names it; of target, container and gripper, from every token of the
answer to an instruction, where a policy has its action queries. L_pointing is the negative log of the attention that a
name pays to the image token that shows the thing, in one head of some layers for each view. Without these two, 32 000
conversations taught what things are called but not where they are. The heads that read classes and places stay behind;
a Qwen3-VL folder is kept.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from thinkvla.backbones.build import BackboneConfig, build_backbone
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.files import new_folder
from thinkvla.method.batch import Tokens
from thinkvla.method.config import MethodConfig
from thinkvla.method.packing import block_mask
from thinkvla.method.prompts import IGNORE, PAD, Prompts
from thinkvla.pretrain.batches import GOALS, PictureBatch, PictureBatches
from thinkvla.pretrain.pictures import COLOUR_CLASSES, SHAPE_CLASSES
from thinkvla.pretrain.pointing import attention_weights, pointing_loss
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.train.config import OptimizerConfig, plain
from thinkvla.train.optimizer import learning_rate
from thinkvla.train.precision import matrix_products
from thinkvla.versions import versions

REPORT_SECONDS = 10.0
HELD_OUT_BATCHES = 8
POINTING_LAYERS = (1, 2)
LOSSES = ("language", "patches", "centres", "places", "pointing")
PLAIN_PATCH = 0.2
"""Weight of a patch that shows table, background or arm alone, against 1 for one that shows a thing."""


@dataclass(frozen=True)
class PretrainConfig:
    """One run.

    Attributes:
        pictures: folder of ``write_pictures``.
        output: run folder; a run that stopped goes on where its last checkpoint stands.
        steps: optimizer steps.
        batch_size: conversations in a step.
        peak_lr: learning rate after the warm-up.
        floor_lr: learning rate at the end of the cosine.
        warmup_steps: linear warm-up.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        patch_weight: weight of the patch classes.
        centre_weight: weight of the middles of what patches show.
        place_weight: weight of the places of named things.
        pointing_weight: weight of the attention of names to what they name.
        seed: of weights and order.
        save_every: steps between checkpoints.
        workers: processes that prepare batches.
    """

    pictures: Path
    output: Path
    steps: int
    batch_size: int = 32
    peak_lr: float = 1.5e-3
    floor_lr: float = 1e-5
    warmup_steps: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    patch_weight: float = 0.5
    centre_weight: float = 4.0
    place_weight: float = 4.0
    pointing_weight: float = 0.1
    seed: int = 0
    save_every: int = 500
    workers: int = 1


@dataclass(frozen=True)
class Heads:
    """What is read from the backbone in pre-training alone."""

    patches: PatchClassifier
    places: PlaceReader


class PatchClassifier(nn.Module):
    """Shape, colour and middle of what every patch shows, linear in the vision encoder's last block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.centre = nn.Linear(width, 2)
        self.shape = nn.Linear(width, len(SHAPE_CLASSES))
        self.colour = nn.Linear(width, len(COLOUR_CLASSES))

    def loss(self, patches_NhwE: Tensor, batch: PictureBatch) -> Tensor:
        """Weighted mean cross-entropy of both, over patches."""
        plain_NhwC = batch.colours_NhwC[..., -1]  # the share that no thing covers
        weight_Nhw = torch.where(plain_NhwC > 0.99, PLAIN_PATCH, 1.0)
        pairs = ((self.shape, batch.shapes_NhwS), (self.colour, batch.colours_NhwC))
        losses = [-(shares * F.log_softmax(head(patches_NhwE), dim=-1)).sum(-1) for head, shares in pairs]
        return (weight_Nhw * sum(losses)).sum() / weight_Nhw.sum()

    def centre_loss(self, patches_NhwE: Tensor, batch: PictureBatch) -> Tensor:
        """Mean L1 distance to the middles, over the patches that show a thing."""
        shown = ~batch.centres_Nhw2.isnan()
        distances = (self.centre(patches_NhwE) - batch.centres_Nhw2.nan_to_num()).abs() * shown
        mean: Tensor = distances.sum() / shown.sum().clamp(min=1)
        return mean


class PlaceReader(nn.Module):
    """Column and row in every picture, linear in hidden states: of a thing where it is named, of all when answering."""

    def __init__(self, width: int, views: int) -> None:
        super().__init__()
        self.named = nn.Linear(width, 2 * views)
        self.goal = nn.Linear(width, GOALS * 2 * views)

    def loss(self, hidden_BLD: Tensor, batch: PictureBatch) -> Tensor:
        """Mean L1 distance of both over the places that are in sight; 0 for a batch that names none."""
        named = _distance(self.named, hidden_BLD, batch.mentions_M2, batch.places_MV2)
        return named + _distance(self.goal, hidden_BLD, batch.replies_K2, batch.goals_K3V2)


def _distance(read: nn.Linear, hidden_BLD: Tensor, tokens_K2: Tensor, places: Tensor) -> Tensor:
    """Mean L1 distance between the ``places`` (K, ..., 2) in sight and what is read from K tokens; 0 without any."""
    rows, tokens = tokens_K2.unbind(1)
    seen = ~places.isnan()
    distances = (read(hidden_BLD[rows, tokens]).view(places.shape) - places.nan_to_num()).abs() * seen
    mean: Tensor = distances.sum() / seen.sum().clamp(min=1)
    return mean


def pretrain(config: PretrainConfig) -> Path:
    """Train to the end and return the folder of the finished backbone, ``output/base``.

    Raises:
        ValueError: the pictures are missing or too few, or the run was started with another configuration.
    """
    with matrix_products(rounded=True):
        return _pretrain(config)


def _pretrain(config: PretrainConfig) -> Path:
    torch.manual_seed(config.seed)
    parts = build_backbone(BackboneConfig("tiny_random", attention="eager"), [])
    model, views = parts.backbone.train(), len(TABLETOP.cameras)
    heads = Heads(PatchClassifier(model.vision_size), PlaceReader(model.hidden_size, views))
    prompts = Prompts(parts.tokenizer, MethodConfig(reasoning_anchor=False))
    trained = nn.ModuleDict({"model": model, "patches": heads.patches, "places": heads.places})
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=config.peak_lr, betas=(0.9, 0.95), weight_decay=config.weight_decay
    )
    begin = _restore(config, trained, optimizer)

    def batches(length: int, *, held_out: bool) -> PictureBatches:
        return PictureBatches(
            config.pictures,
            prompts,
            parts.image_processor,
            batch_size=config.batch_size,
            seed=config.seed,
            length=length,
            held_out=held_out,
        )

    schedule = OptimizerConfig(floor_lr=config.floor_lr, warmup_steps=config.warmup_steps)
    loader: Any = DataLoader(
        batches(config.steps, held_out=False),  # type: ignore[arg-type]
        batch_size=None,
        sampler=range(begin, config.steps),
        num_workers=config.workers,
    )
    report = _Reporter(config, begin, lambda: _held_out(model, heads, batches(HELD_OUT_BATCHES, held_out=True)))
    for step, batch in enumerate(loader, start=begin):
        rate = learning_rate(step, config.steps, config.peak_lr, schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = _losses(model, heads, batch)
        language, patches, centres, places, pointing = losses
        shown = config.patch_weight * patches + config.centre_weight * centres
        told = language + config.place_weight * places + config.pointing_weight * pointing
        (shown + told).backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        last = step + 1 == config.steps
        report.step(step + 1, [loss.item() for loss in losses], rate, last=last)
        if last or (step + 1) % config.save_every == 0:
            _save(config, trained, optimizer, step + 1)
    base = config.output / "base"
    if not base.exists():
        with new_folder(base) as folder:
            save_backbone(folder, model, parts.tokenizer, parts.image_processor)
    return base


def save_backbone(folder: Path, backbone: QwenVL, tokenizer: Any, image_processor: Any) -> None:
    """Write a backbone as a published Qwen3-VL is laid out, weights in bfloat16."""
    model = backbone.model.bfloat16()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    backbone.model.float()


def _losses(model: QwenVL, heads: Heads, batch: PictureBatch) -> tuple[Tensor, ...]:
    """Losses in the order of LOSSES."""
    tokens: Tokens = batch.talk.tokens
    positions = model.positions(tokens.ids_BL, tokens.segments_BL != PAD, tokens.grids_N3)
    with attention_weights(model, POINTING_LAYERS) as weights:
        hidden_BLD, patches_NhwE = model.encode(
            tokens, positions, block_mask(tokens.segments_BL), model.vision_blocks - 1
        )
    assert patches_NhwE is not None, "a vision block was asked for"
    labels = batch.talk.labels_BL[:, 1:]
    scores = model.logits(hidden_BLD[:, :-1][labels != IGNORE])
    return (
        F.cross_entropy(scores, labels[labels != IGNORE]),
        heads.patches.loss(patches_NhwE, batch),
        heads.patches.centre_loss(patches_NhwE, batch),
        heads.places.loss(hidden_BLD, batch),
        pointing_loss(weights, batch, tokens.ids_BL == model.model.config.image_token_id, _grid(model, batch)),
    )


def _grid(model: QwenVL, batch: PictureBatch) -> tuple[int, int]:
    """Rows and columns of language tokens that a picture becomes."""
    _, rows, columns, _ = batch.shapes_NhwS.shape
    return rows // model.merge, columns // model.merge


@torch.no_grad()
def _held_out(model: QwenVL, heads: Heads, batches: PictureBatches) -> list[float]:
    model.eval()
    losses = [_losses(model, heads, batches[number]) for number in range(len(batches))]
    model.train()
    return [sum(loss.item() for loss in kind) / len(losses) for kind in zip(*losses, strict=True)]


def _save(config: PretrainConfig, trained: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    config.output.mkdir(parents=True, exist_ok=True)
    partial = config.output / "state.pt.partial"
    torch.save({"step": step, "trained": trained.state_dict(), "optimizer": optimizer.state_dict()}, partial)
    partial.replace(config.output / "state.pt")


def _restore(config: PretrainConfig, trained: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Steps done by an earlier, stopped run of the same configuration; 0 for a new one, whose folder is made."""
    record = config.output / "config.json"
    if not record.is_file():
        config.output.mkdir(parents=True)
        record.write_text(json.dumps(plain(config), indent=2) + "\n", encoding="utf-8")
        (config.output / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n", encoding="utf-8")
        return 0
    if json.loads(record.read_text(encoding="utf-8")) != plain(config):
        raise ValueError(f"{record}: the run was started with another configuration; use the same, or another output")
    state = config.output / "state.pt"
    if not state.is_file():
        return 0
    values = torch.load(state, weights_only=True)
    trained.load_state_dict(values["trained"])
    optimizer.load_state_dict(values["optimizer"])
    return int(values["step"])


class _Reporter:
    """A line every few seconds on the terminal and in metrics.jsonl; held-out losses with every checkpoint."""

    def __init__(self, config: PretrainConfig, begin: int, held_out: Callable[[], list[float]]) -> None:
        self.config, self.begin, self.held_out = config, begin, held_out
        self.console = Console(stderr=True)
        self.started = self.last = time.perf_counter()
        self.values: list[list[float]] = []

    def step(self, step: int, losses: list[float], rate: float, *, last: bool) -> None:
        if not math.isfinite(sum(losses)):
            raise RuntimeError(f"pre-training diverged in step {step}; lower peak_lr")
        self.values.append(losses)
        now = time.perf_counter()
        measured = last or step % self.config.save_every == 0
        if not measured and now - self.last < REPORT_SECONDS:
            return
        means = [sum(column) / len(column) for column in zip(*self.values, strict=True)]
        speed = len(self.values) * self.config.batch_size / max(now - self.last, 1e-9)
        left = (now - self.started) / (step - self.begin) * (self.config.steps - step)
        row = {"step": step, "learning_rate": rate, "conversations_per_second": speed}
        row |= {f"loss/{name}": mean for name, mean in zip(LOSSES, means, strict=True)}
        text = f"step {step}/{self.config.steps}  " + _listed(means)
        if measured:
            found = self.held_out()
            row |= {f"held_out/{name}": value for name, value in zip(LOSSES, found, strict=True)}
            text += f"  held out: {_listed(found)}"
        with (self.config.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.console.print(f"{text}  {speed:.0f}/s  left {int(left) // 60}:{int(left) % 60:02d}", highlight=False)
        self.values, self.last = [], time.perf_counter()


def _listed(values: list[float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in zip(LOSSES, values, strict=True))
