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

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thinkvla.backbones.build import BackboneConfig, build_backbone
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.files import new_folder
from thinkvla.method.batch import Tokens
from thinkvla.method.config import MethodConfig
from thinkvla.method.packing import block_mask
from thinkvla.method.prompts import IGNORE, PAD, Prompts
from thinkvla.pretrain.batches import GOALS, PictureBatch, PictureBatches
from thinkvla.pretrain.loop import PretrainConfig, run
from thinkvla.pretrain.pictures import COLOUR_CLASSES, SHAPE_CLASSES
from thinkvla.pretrain.pointing import attention_weights, pointing_loss
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.train.precision import matrix_products

POINTING_LAYERS = (1, 2)
PLAIN_PATCH = 0.2
"""Weight of a patch that shows table, background or arm alone, against 1 for one that shows a thing."""


@dataclass(frozen=True)
class BackbonePretrainConfig(PretrainConfig):
    """A run on the pictures of ``write_pictures``; its samples are conversations.

    Attributes:
        patch_weight: weight of the patch classes.
        centre_weight: weight of the middles of what patches show.
        place_weight: weight of the places of named things.
        pointing_weight: weight of the attention of names to what they name.
    """

    patch_weight: float = 0.5
    centre_weight: float = 4.0
    place_weight: float = 4.0
    pointing_weight: float = 0.1


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


class BackbonePretraining:
    """The tiny backbone with its heads; a :class:`~thinkvla.pretrain.loop.Pretraining`."""

    def __init__(self, config: BackbonePretrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.parts = build_backbone(BackboneConfig("tiny_random", attention="eager"), [])
        self.model = self.parts.backbone.train()
        self.heads = Heads(
            PatchClassifier(self.model.vision_size), PlaceReader(self.model.hidden_size, len(TABLETOP.cameras))
        )
        self.prompts = Prompts(self.parts.tokenizer, MethodConfig(reasoning_anchor=False))
        self.trained = nn.ModuleDict({"model": self.model, "patches": self.heads.patches, "places": self.heads.places})

    def batches(self, length: int, *, held_out: bool) -> PictureBatches:
        """``length`` batches of conversations, or as many about moments that are never trained on."""
        return PictureBatches(
            self.config.pictures,
            self.prompts,
            self.parts.image_processor,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            length=length,
            held_out=held_out,
        )

    def losses(self, batch: PictureBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the module's docstring, and its terms."""
        terms, config = _losses(self.model, self.heads, batch), self.config
        shown = config.patch_weight * terms["patches"] + config.centre_weight * terms["centres"]
        told = terms["language"] + config.place_weight * terms["places"] + config.pointing_weight * terms["pointing"]
        return shown + told, terms


def pretrain_backbone(config: BackbonePretrainConfig) -> Path:
    """Train to the end and return the folder of the finished backbone, ``output/base``.

    Raises:
        ValueError: the pictures are missing or too few, or the run was started with another configuration.
    """
    pretraining = BackbonePretraining(config)
    with matrix_products(rounded=True):
        run(config, pretraining)
    base = config.output / "base"
    if not base.exists():
        with new_folder(base) as folder:
            save_backbone(folder, pretraining.model, pretraining.parts.tokenizer, pretraining.parts.image_processor)
    return base


def save_backbone(folder: Path, backbone: QwenVL, tokenizer: Any, image_processor: Any) -> None:
    """Write a backbone as a published Qwen3-VL is laid out, weights in bfloat16."""
    model = backbone.model.bfloat16()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    backbone.model.float()


def _losses(model: QwenVL, heads: Heads, batch: PictureBatch) -> dict[str, Tensor]:
    tokens: Tokens = batch.talk.tokens
    positions = model.positions(tokens.ids_BL, tokens.segments_BL != PAD, tokens.grids_N3)
    with attention_weights(model, POINTING_LAYERS) as weights:
        hidden_BLD, patches_NhwE = model.encode(
            tokens, positions, block_mask(tokens.segments_BL), model.vision_blocks - 1
        )
    assert patches_NhwE is not None, "a vision block was asked for"
    labels = batch.talk.labels_BL[:, 1:]
    scores = model.logits(hidden_BLD[:, :-1][labels != IGNORE])
    is_image_BL = tokens.ids_BL == model.model.config.image_token_id
    return {
        "language": F.cross_entropy(scores, labels[labels != IGNORE]),
        "patches": heads.patches.loss(patches_NhwE, batch),
        "centres": heads.patches.centre_loss(patches_NhwE, batch),
        "places": heads.places.loss(hidden_BLD, batch),
        "pointing": pointing_loss(weights, batch, is_image_BL, _grid(model, batch)),
    }


def _grid(model: QwenVL, batch: PictureBatch) -> tuple[int, int]:
    """Rows and columns of language tokens that a picture becomes."""
    _, rows, columns, _ = batch.shapes_NhwS.shape
    return rows // model.merge, columns // model.merge
