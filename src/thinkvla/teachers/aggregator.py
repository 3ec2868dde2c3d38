"""The network of VGGT (arXiv 2503.11651) up to its tokens: patch encoder, then alternating attention over views.

    patches  = DINOv2 encoder of each view                              (arXiv 2304.07193, with registers 2309.16588)
    tokens   = camera | registers | patches    for each view, the first with special tokens of its own
    repeated = frame attention (within a view), global attention (over all views of a scene)

Names of parameters are those of the published checkpoints. The heads for cameras, depth and points are not here:
a geometry teacher ends at the tokens. Shapes: B scenes, V views, P patches of a view, T = special + P tokens, K width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROPE_BASE = 100.0
ENCODER_NORM_EPS = 1e-6  # DINOv2's; the alternating blocks have torch's default
CHANNEL_MEAN = (0.485, 0.456, 0.406)
CHANNEL_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class AggregatorConfig:
    """Sizes of the network; the defaults are VGGT-1B's (909 M parameters).

    Attributes:
        image_size: side of the images that the encoder's position table was made for, pixels.
        patch_size: side of a patch, pixels.
        width: K, size of a token; features are twice as wide.
        heads: attention heads, in the encoder too.
        depth: pairs of frame and global attention.
        encoder_depth: blocks of the patch encoder.
        registers: register tokens of a view, in the encoder too.
    """

    image_size: int = 518
    patch_size: int = 14
    width: int = 1024
    heads: int = 16
    depth: int = 24
    encoder_depth: int = 24
    registers: int = 4

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size is {self.image_size}; expected a multiple of patch_size {self.patch_size}")
        if self.width % (4 * self.heads):
            raise ValueError(
                f"width is {self.width}; expected a multiple of 4 × heads = {4 * self.heads}, since each head turns "
                "the two halves of its size by row and by column, in pairs"
            )


class Aggregator(nn.Module):
    """Features of scenes from their views; see the module's docstring."""

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEncoder(config)
        self.frame_blocks = nn.ModuleList(_alternating_block(config) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(_alternating_block(config) for _ in range(config.depth))
        # Second axis: the first view's token, and the one all other views share.
        self.camera_token = nn.Parameter(1e-6 * torch.randn(1, 2, 1, config.width))
        self.register_token = nn.Parameter(1e-6 * torch.randn(1, 2, config.registers, config.width))

    @property
    def special(self) -> int:
        """Tokens that stand before the patches of a view: one for its camera, and the registers."""
        return 1 + self.config.registers

    def forward(self, images_BV3HW: Tensor) -> Tensor:
        """Last pair of attention outputs, frame and global side by side.

        Args:
            images_BV3HW: RGB in [0, 1], sides multiples of the patch size; the order of views matters.

        Returns:
            (B, V, T, 2 K); the patches, in raster order, begin at token ``special``.

        Raises:
            ValueError: the images have another shape.
        """
        batch, views, height, width = self._check(images_BV3HW)
        mean, std = (images_BV3HW.new_tensor(values).view(3, 1, 1) for values in (CHANNEL_MEAN, CHANNEL_STD))
        normal = (images_BV3HW - mean) / std
        patches = self.patch_embed(normal.flatten(0, 1)).view(batch, views, -1, self.config.width)
        tokens_BVTK = torch.cat([self._special(batch, views), patches], dim=2)
        length = tokens_BVTK.shape[2]
        turn = rotation(height, width, self.special, self.config.width // self.config.heads, tokens_BVTK)
        # In global attention the views stand one after the other, each with the places of its own grid.
        turn_all = (turn[0].repeat(views, 1), turn[1].repeat(views, 1))
        framed = tokens_BVTK
        for frame_block, global_block in zip(self.frame_blocks, self.global_blocks, strict=True):
            framed = frame_block(tokens_BVTK.flatten(0, 1), turn).view(batch, views, length, -1)
            tokens_BVTK = global_block(framed.flatten(1, 2), turn_all).view(batch, views, length, -1)
        return torch.cat([framed, tokens_BVTK], dim=-1)

    def _special(self, batch: int, views: int) -> Tensor:
        tokens_12SK = torch.cat([self.camera_token, self.register_token], dim=2)
        first_or_other = torch.arange(views, device=tokens_12SK.device).clamp(max=1)
        return tokens_12SK[:, first_or_other].expand(batch, -1, -1, -1)

    def _check(self, images: Tensor) -> tuple[int, int, int, int]:
        side = self.config.patch_size
        if images.ndim != 5 or images.shape[2] != 3 or images.shape[3] % side or images.shape[4] % side:
            raise ValueError(
                f"expected images (scenes, views, 3, height, width) with sides that are multiples of {side}, got "
                f"{tuple(images.shape)}"
            )
        return images.shape[0], images.shape[1], images.shape[3] // side, images.shape[4] // side


class PatchEncoder(nn.Module):
    """DINOv2 with registers: normalized patch tokens of single images."""

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__()
        self.side = config.image_size // config.patch_size
        width = config.width
        projection = nn.Conv2d(3, width, config.patch_size, config.patch_size)
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.cls_token = nn.Parameter(1e-6 * torch.randn(1, 1, width))
        self.register_tokens = nn.Parameter(1e-6 * torch.randn(1, config.registers, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + self.side**2, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, turned=False, scale=1.0, eps=ENCODER_NORM_EPS)
            for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(width, eps=ENCODER_NORM_EPS)

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Normalized images (N, 3, H, W) → (N, P, K)."""
        grid: Tensor = self.patch_embed["proj"](images_N3HW)
        count, _, height, width = grid.shape
        patches = grid.flatten(2).transpose(1, 2) + self.places(height, width)
        # The class token has a place of its own; registers have none.
        first = (self.cls_token + self.pos_embed[:, :1]).expand(count, -1, -1)
        tokens = torch.cat([first, self.register_tokens.expand(count, -1, -1), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        normal: Tensor = self.norm(tokens[:, -height * width :])
        return normal

    def places(self, height: int, width: int) -> Tensor:
        """Position embedding of a grid of patches: the table, resized if the grid is another: (1, P, K)."""
        table = self.pos_embed[:, 1:]
        if (height, width) == (self.side, self.side):
            return table
        square = table.float().view(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(square, size=(height, width), mode="bicubic", antialias=True)
        return resized.flatten(2).transpose(1, 2).to(table.dtype)


class Block(nn.Module):
    """Pre-norm transformer block with a learned scale on each branch.

    Args:
        width: K.
        heads: attention heads.
        turned: normalize queries and keys and turn them by their places.
        scale: initial value of the branches' scales.
        eps: of the two norms.
    """

    def __init__(self, width: int, heads: int, *, turned: bool, scale: float, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, turned=turned)
        self.ls1 = Scale(width, scale)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width)
        self.ls2 = Scale(width, scale)

    def forward(self, tokens: Tensor, turn: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(N, T, K) → (N, T, K)."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), turn))
        added: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return added


class Attention(nn.Module):
    """Multi-head attention of all tokens to all."""

    def __init__(self, width: int, heads: int, *, turned: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if turned else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if turned else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        """(N, T, K) → (N, T, K); ``turn`` is what :func:`rotation` gives for T tokens."""
        count, length, width = tokens.shape
        split = self.qkv(tokens).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        query, key = self.q_norm(query), self.k_norm(key)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        read = F.scaled_dot_product_attention(query, key, value)
        joined: Tensor = self.proj(read.transpose(1, 2).reshape(count, length, width))
        return joined


class Mlp(nn.Module):
    """Two layers, four times as wide between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., K) → (..., K)."""
        mapped: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return mapped


class Scale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, width: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), value))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., K) → (..., K)."""
        return tokens * self.gamma


def rotation(height: int, width: int, special: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine by which the heads of one view's tokens are turned, (T, size) each.

    The first half of a head turns with the patch's row, the second with its column, both counted from one; special
    tokens stand at zero and are not turned.
    """
    rows, columns = torch.meshgrid(
        torch.arange(1, height + 1, device=like.device), torch.arange(1, width + 1, device=like.device), indexing="ij"
    )
    places = F.pad(torch.stack([rows, columns], dim=-1).flatten(0, 1), (0, 0, special, 0)).float()
    exponents = torch.arange(0, size // 2, 2, device=like.device).float() / (size // 2)
    angles = places[:, :, None] * ROPE_BASE**-exponents  # (T, row or column, size / 4)
    angles = torch.cat([angles, angles], dim=-1).flatten(1).to(like.dtype)
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn (N, heads, T, size) by the angles of :func:`rotation`; rows' half and columns' half each in pairs."""
    cosine, sine = turn
    low, high = heads.unflatten(-1, (2, 2, -1)).unbind(-2)
    quarter = torch.stack([-high, low], dim=-2).flatten(-3)
    return heads * cosine + quarter * sine


def _alternating_block(config: AggregatorConfig) -> Block:
    return Block(config.width, config.heads, turned=True, scale=0.01, eps=1e-5)
