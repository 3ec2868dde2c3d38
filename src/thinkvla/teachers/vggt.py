"""VGGT as a geometry teacher: F_3D are its last tokens, the special ones dropped (arXiv 2503.11651).

Weights come from a file or folder of yours; nothing is downloaded. All sizes are read from the weights, so a small
network of the same kind loads as the published one does.
"""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor, nn

from thinkvla.teachers.aggregator import Aggregator, AggregatorConfig
from thinkvla.teachers.learned import LearnedTeacher, State, count, load_part, weights_file

PREFIX = "aggregator."
UNUSED = {"patch_embed.mask_token"}  # of the encoder's own pre-training
SOURCE = "facebook/VGGT-1B (non-commercial licence)"
LICENCE = (
    "%s: published VGGT weights have licences of their own: facebook/VGGT-1B is for non-commercial use only, "
    "facebook/VGGT-1B-Commercial asks for Meta's terms to be accepted. Check that yours allows what you do; policies "
    "trained with a teacher hold none of its weights."
)


class VggtTeacher(LearnedTeacher):
    """A frozen VGGT; images at the size its weights were made for (518 px).

    Args:
        weights: a ``.safetensors`` or ``.pt`` file of VGGT, or a folder with ``model.safetensors`` or ``model.pt``.
        view_size: (height, width) of the images, pixels.

    Raises:
        ValueError: no weights there, or they are not VGGT's.
    """

    def __init__(self, weights: Path, view_size: tuple[int, int]) -> None:
        file = weights_file(weights, "VGGT", SOURCE)
        model = load_aggregator(file)
        config = model.config
        super().__init__(
            "vggt",
            _Patches(model),
            file,
            view_size,
            image_size=config.image_size,
            patch_size=config.patch_size,
            dim=2 * config.width,
        )


class _Patches(nn.Module):
    """An aggregator without the special ones among its tokens."""

    def __init__(self, model: Aggregator) -> None:
        super().__init__()
        self.model = model

    def forward(self, images_BV3HW: Tensor) -> Tensor:
        tokens: Tensor = self.model(images_BV3HW)
        return tokens[:, :, self.model.special :]


def load_aggregator(file: Path) -> Aggregator:
    """The aggregator in a file of VGGT weights, sizes as they are there; heads are left out.

    Raises:
        ValueError: the file holds no VGGT aggregator, or not all of it.
    """
    model = load_part(file, PREFIX, "VGGT aggregator", lambda state: Aggregator(sizes(state)), UNUSED)
    assert isinstance(model, Aggregator)
    return model


def sizes(state: State) -> AggregatorConfig:
    """The sizes of a network from the shapes of its parameters.

    Raises:
        KeyError: a parameter that tells one is missing.
    """
    _, _, patch_size, _ = state["patch_embed.patch_embed.proj.weight"].shape
    side = math.isqrt(state["patch_embed.pos_embed"].shape[1] - 1)
    _, _, registers, width = state["register_token"].shape
    return AggregatorConfig(
        image_size=side * patch_size,
        patch_size=patch_size,
        width=width,
        heads=width // state["frame_blocks.0.attn.q_norm.weight"].shape[0],
        depth=count(state, "frame_blocks"),
        encoder_depth=count(state, "patch_embed.blocks"),
        registers=registers,
    )
