"""Depth Anything 3 as a geometry teacher (arXiv 2511.10647): DINOv2 whose later blocks attend over views too.

    first blocks  = attention within a view, as in DINOv2            (arXiv 2304.07193)
    later blocks  = within a view and over all views of a scene, in turn; the class token has become a camera token
    F_3D          = patches after the last attention of both kinds, side by side, the second normalized

The published weights DA3-SMALL and DA3-BASE are under Apache-2.0 and see several views. Names of parameters are theirs;
heads for depth, rays and cameras are not here. Weights come from a file or folder of yours; nothing is downloaded. The
first view is the reference, which the public code calls the strategy "first"; by itself it chooses one from three views
on. Shapes: B scenes, V views, P patches of a view, T = 1 + P tokens, K width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thinkvla.teachers.aggregator import CHANNEL_MEAN, CHANNEL_STD, ENCODER_NORM_EPS, Block, rotation
from thinkvla.teachers.learned import LearnedTeacher, State, count, load_part, weights_file

PREFIX = "model.backbone.pretrained."
SOURCE = "depth-anything/DA3-BASE (Apache-2.0)"
IMAGE_SIZE = 504
"""Pixels of the longer side, the public code's default, for weights made for 518."""
PLACE_OFFSET = 0.1
"""Added to the wanted grid when places are resized, as DINOv2 does."""
LICENCE = (
    "%s: published Depth Anything 3 weights have licences of their own: DA3-SMALL and DA3-BASE are under Apache-2.0, "
    "DA3-LARGE is for non-commercial use only (CC BY-NC 4.0). Check that yours allows what you do; policies trained "
    "with a teacher hold none of its weights."
)


@dataclass(frozen=True)
class DepthAnythingConfig:
    """Sizes of the encoder; the defaults are DA3-BASE's (86 M parameters).

    Attributes:
        image_size: side of the images that the position table was made for, pixels.
        patch_size: side of a patch, pixels.
        width: K, size of a token; features are twice as wide.
        heads: attention heads.
        depth: blocks.
        alternate_from: number of the first later block.
    """

    image_size: int = 518
    patch_size: int = 14
    width: int = 768
    heads: int = 12
    depth: int = 12
    alternate_from: int = 4


class DepthAnythingTeacher(LearnedTeacher):
    """A frozen Depth Anything 3; images at 504 px, or at the size its weights were made for if that is less.

    Args:
        weights: a ``.safetensors`` or ``.pt`` file, or a folder with ``model.safetensors`` or ``model.pt``.
        view_size: (height, width) of the images, pixels.

    Raises:
        ValueError: no weights there, or they are not those of a Depth Anything 3 that sees several views.
    """

    def __init__(self, weights: Path, view_size: tuple[int, int]) -> None:
        file = weights_file(weights, "Depth Anything 3", SOURCE)
        model = load_encoder(file)
        config = model.config
        super().__init__(
            "depth_anything_3",
            model,
            file,
            view_size,
            image_size=min(IMAGE_SIZE, config.image_size),
            patch_size=config.patch_size,
            dim=2 * config.width,
        )


class DepthAnythingEncoder(nn.Module):
    """Features of scenes from their views; see the module's docstring."""

    def __init__(self, config: DepthAnythingConfig) -> None:
        super().__init__()
        self.config = config
        self.side = config.image_size // config.patch_size
        width = config.width
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, config.patch_size, config.patch_size)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        # The first view's token, and the one all other views share.
        self.camera_token = nn.Parameter(torch.randn(1, 2, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, turned=number >= config.alternate_from, scale=1.0, eps=ENCODER_NORM_EPS)
            for number in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, images_BV3HW: Tensor) -> Tensor:
        """RGB in [0, 1], sides multiples of the patch size, the reference view first → (B, V, P, 2 K), raster order."""
        batch, views = images_BV3HW.shape[:2]
        mean, std = (images_BV3HW.new_tensor(values).view(3, 1, 1) for values in (CHANNEL_MEAN, CHANNEL_STD))
        grid: Tensor = self.patch_embed["proj"](((images_BV3HW - mean) / std).flatten(0, 1))
        rows, columns = grid.shape[-2:]
        first = self.cls_token.expand(batch * views, -1, -1)
        tokens = torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1) + self.places(rows, columns)
        tokens_BVTK = tokens.unflatten(0, (batch, views))
        within, over = self._turns(rows, columns, views, tokens)
        framed = tokens_BVTK
        for number, block in enumerate(self.blocks):
            later = number >= self.config.alternate_from
            if number == self.config.alternate_from:
                cameras = self.camera_token[:, torch.arange(views, device=tokens.device).clamp(max=1)]
                cameras = cameras.unsqueeze(2).expand(batch, -1, -1, -1)
                tokens_BVTK = torch.cat([cameras, tokens_BVTK[:, :, 1:]], dim=2)
            if later and number % 2:
                tokens_BVTK = block(tokens_BVTK.flatten(1, 2), over).view_as(tokens_BVTK)
            else:
                tokens_BVTK = block(tokens_BVTK.flatten(0, 1), within if later else None).view_as(tokens_BVTK)
                framed = tokens_BVTK
        return torch.cat([framed, self.norm(tokens_BVTK)], dim=-1)[:, :, 1:]

    def places(self, rows: int, columns: int) -> Tensor:
        """Position embedding of the class token and of a grid of patches, the table resized: (1, T, K)."""
        if (rows, columns) == (self.side, self.side):
            return self.pos_embed
        square = self.pos_embed[:, 1:].float().view(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        scale = ((rows + PLACE_OFFSET) / self.side, (columns + PLACE_OFFSET) / self.side)
        resized = F.interpolate(square, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)], dim=1)

    def _turns(
        self, rows: int, columns: int, views: int, like: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """How heads are turned within a view, by each patch's place, and over views, where all patches stand at one."""
        size = self.config.width // self.config.heads
        within = rotation(rows, columns, 1, size, like)
        cosine, sine = rotation(1, 1, 1, size, like)  # of the camera token and of any patch
        which = torch.ones(views, 1 + rows * columns, dtype=torch.long, device=like.device)
        which[:, 0] = 0
        return within, (cosine[which.flatten()], sine[which.flatten()])


def load_encoder(file: Path) -> DepthAnythingEncoder:
    """The encoder in a file of Depth Anything 3 weights, sizes as they are there.

    Raises:
        ValueError: the file holds no such encoder, or not all of it: that of DA3-GIANT, whose blocks are of another
            kind, or of a model for single images.
    """
    kind = "Depth Anything 3 encoder that sees several views (DA3-SMALL, DA3-BASE or DA3-LARGE)"
    model = load_part(file, PREFIX, kind, lambda state: DepthAnythingEncoder(sizes(state)), set())
    assert isinstance(model, DepthAnythingEncoder)
    return model


def sizes(state: State) -> DepthAnythingConfig:
    """The sizes of an encoder from the shapes of its parameters.

    Raises:
        KeyError: a parameter that tells one is missing.
    """
    width, _, patch_size, _ = state["patch_embed.proj.weight"].shape
    depth = count(state, "blocks")
    turned = [number for number in range(depth) if f"blocks.{number}.attn.q_norm.weight" in state]
    if not turned:
        raise KeyError(f"blocks.{depth - 1}.attn.q_norm.weight")
    return DepthAnythingConfig(
        image_size=math.isqrt(state["pos_embed"].shape[1] - 1) * patch_size,
        patch_size=patch_size,
        width=width,
        heads=width // state[f"blocks.{turned[0]}.attn.q_norm.weight"].shape[0],
        depth=depth,
        alternate_from=turned[0],
    )
