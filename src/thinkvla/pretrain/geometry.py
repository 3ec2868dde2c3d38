"""Pre-training of the tiny geometry teacher: depth, points and cameras from images alone, as VGGT (arXiv 2503.11651).

    L = L_points + L_depth + L_edges + L_rotation + L_position

VGGT's objective (its section 3.4) has a depth, a point map and a camera loss of equal weight, in the first camera's
frame; its tracking loss is left out. What differs, since this world is one table, rendered without noise:

- Metres: VGGT divides each scene by its mean distance because its data sets disagree on scale. These views do not.
- No predicted uncertainty: VGGT has it for depth that a sensor or a reconstruction got wrong.
- L_depth is the L1 distance of logarithms, so relative: the wrist's camera is several times nearer than the front one.
  L_edges is the same for differences between neighbours, VGGT's gradient term. L_points is the mean distance, metres.
- Rotations are read as their first two columns, which have no jumps (arXiv 1812.07035), instead of quaternions; L1.
- Points of the table weigh less than those of things and of the arm, since a plane is soon learned.
- What is told is linear in the normalized last tokens (VGGT: convolutions over several layers), so that the features a
  policy learns from hold it themselves.

The linear heads stay behind; weights are kept under VGGT's published names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from thinkvla.files import new_folder
from thinkvla.pretrain.loop import PretrainConfig, run
from thinkvla.pretrain.views import ViewBatch, ViewBatches
from thinkvla.teachers.aggregator import Aggregator, AggregatorConfig, Scale
from thinkvla.teachers.vggt import PREFIX
from thinkvla.train.precision import matrix_products

TINY_VGGT = AggregatorConfig(image_size=96, patch_size=12, width=192, heads=3, depth=2, encoder_depth=3, registers=1)
"""3.2 M parameters; a patch is one of the tiny backbone's, so both grids are 8 × 8."""
TABLE_WEIGHT = 0.2
"""Weight of a point of the table or the ground, against 1 for one of a thing or the arm."""


@dataclass(frozen=True)
class Told:
    """What is read from the tokens; frames and units as in :class:`~thinkvla.pretrain.views.ViewBatch`."""

    points_BVhw3: Tensor
    log_depths_BVhw: Tensor
    columns_BV32: Tensor
    positions_BV3: Tensor


class Readout(nn.Module):
    """Points and depths linear in a patch's normalized token, ``cells`` × ``cells`` of them; cameras in their own."""

    def __init__(self, size: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.patch = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, cells * cells * 4))
        self.camera = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 9))

    def forward(self, tokens_BVTF: Tensor, special: int, grid: tuple[int, int]) -> Told:
        """Last tokens of an aggregator with that many special ones and that grid of patches."""
        rows, columns = grid
        split = self.patch(tokens_BVTF[:, :, special:]).view(
            *tokens_BVTF.shape[:2], rows, columns, self.cells, self.cells, 4
        )
        maps = split.transpose(3, 4).flatten(4, 5).flatten(2, 3)
        camera = self.camera(tokens_BVTF[:, :, 0])
        return Told(maps[..., :3], maps[..., 3], camera[..., :6].unflatten(-1, (3, 2)), camera[..., 6:])


class GeometryPretraining:
    """The tiny VGGT with its heads; a :class:`~thinkvla.pretrain.loop.Pretraining`."""

    def __init__(self, config: PretrainConfig, sizes: AggregatorConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.model = new_aggregator(sizes)
        views = self.batches(1, held_out=False).views
        side = sizes.image_size // sizes.patch_size
        _, _, height, width, _ = views.images.shape
        if (height, width) != (sizes.image_size,) * 2 or views.points.shape[2] % side:
            raise ValueError(
                f"{config.pictures}: views of {height}×{width} px with {views.points.shape[2:4]} points do not fit "
                f"{side} patches of {sizes.patch_size} px a side"
            )
        self.grid = (side, side)
        self.readout = Readout(2 * sizes.width, views.points.shape[2] // side)
        self.trained = nn.ModuleDict({"model": self.model, "readout": self.readout})

    def batches(self, length: int, *, held_out: bool) -> ViewBatches:
        """``length`` batches of moments, or as many of scenes that are never trained on."""
        return ViewBatches(
            self.config.pictures,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            length=length,
            held_out=held_out,
        )

    def tell(self, images_BVHW3: Tensor) -> Told:
        """What the network says of uint8 RGB views."""
        tokens = self.model(images_BVHW3.permute(0, 1, 4, 2, 3).float() / 255)
        told: Told = self.readout(tokens, self.model.special, self.grid)
        return told

    def losses(self, batch: ViewBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the module's docstring, and its terms."""
        terms = geometry_losses(self.tell(batch.images_BVHW3), batch)
        return torch.stack(list(terms.values())).sum(), terms


def new_aggregator(sizes: AggregatorConfig) -> Aggregator:
    """Random weights to train from the beginning; VGGT's own first values suit its depth and a trained encoder.

    Every branch counts in full, special tokens differ, and a patch's place weighs as much as what it shows.
    """
    model = Aggregator(sizes)
    for module in model.modules():
        if isinstance(module, Scale):
            nn.init.ones_(module.gamma)
    for token in (model.camera_token, model.register_token):
        nn.init.normal_(token, std=0.02)
    nn.init.normal_(model.patch_embed.pos_embed, std=0.5)
    return model


def geometry_losses(told: Told, batch: ViewBatch) -> dict[str, Tensor]:
    """Terms of the loss; points and positions in metres, depths relative, rotations as entries of matrices."""
    seen = ~batch.depths_BVhw.isnan()
    weight = torch.where(batch.off_table_BVhw, 1.0, TABLE_WEIGHT) * seen
    distances = torch.linalg.vector_norm(told.points_BVhw3 - batch.points_BVhw3.nan_to_num(), dim=-1)
    off = told.log_depths_BVhw - torch.where(seen, batch.depths_BVhw, 1.0).log()
    columns = batch.rotations_BV33[..., :2]
    return {
        "points": _mean(distances, weight),
        "depth": _mean(off.abs(), weight),
        "edges": sum((_mean(off.diff(dim=axis).abs(), _both(weight, axis)) for axis in (-1, -2)), torch.zeros(())),
        # The first camera is the frame itself.
        "rotation": (told.columns_BV32 - columns)[:, 1:].abs().mean(),
        "position": (told.positions_BV3 - batch.positions_BV3)[:, 1:].abs().mean(),
    }


def _both(weight: Tensor, axis: int) -> Tensor:
    """Weight of each pair of neighbours: the larger of both, none where one shows nothing."""
    size = weight.shape[axis]
    one, other = weight.narrow(axis, 0, size - 1), weight.narrow(axis, 1, size - 1)
    return torch.maximum(one, other) * (torch.minimum(one, other) > 0)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def pretrain_geometry(config: PretrainConfig, sizes: AggregatorConfig = TINY_VGGT) -> Path:
    """Train to the end and return the folder of the finished teacher, ``output/vggt_tiny``.

    Raises:
        ValueError: the views are missing, too few or of another size, or the run was started with another
            configuration.
    """
    pretraining = GeometryPretraining(config, sizes)
    # The explicit kernel: with rounded factors the fused ones are several times slower on a CPU.
    with matrix_products(rounded=True), sdpa_kernel(SDPBackend.MATH):
        run(config, pretraining)
    folder = config.output / "vggt_tiny"
    if not folder.exists():
        with new_folder(folder) as partial:
            save_aggregator(partial / "model.safetensors", pretraining.model)
    return folder


def save_aggregator(file: Path, model: Aggregator) -> None:
    """Write weights under VGGT's published names, in float16."""
    state = {PREFIX + name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, file)
