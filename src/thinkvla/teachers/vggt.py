"""VGGT as a geometry teacher: F_3D are its last tokens, the special ones dropped (arXiv 2503.11651).

Weights come from a file or folder of yours; nothing is downloaded. All sizes are read from the weights, so a small
network of the same kind loads as the published one does.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from thinkvla.teachers.aggregator import Aggregator, AggregatorConfig
from thinkvla.teachers.protocol import Wants

PREFIX = "aggregator."
UNUSED = {"patch_embed.mask_token"}  # of the encoder's own pre-training
SCENES_AT_ONCE = 8
LICENCE = (
    "%s: published VGGT weights have licences of their own: facebook/VGGT-1B is for non-commercial use only, "
    "facebook/VGGT-1B-Commercial asks for Meta's terms to be accepted. Check that yours allows what you do; policies "
    "trained with a teacher hold none of its weights."
)

log = logging.getLogger(__name__)


class VggtTeacher:
    """A frozen VGGT; a :class:`~thinkvla.teachers.protocol.GeometryTeacher`.

    Views keep their aspect: the longer side becomes the size the weights were made for (518 px), the shorter one the
    nearest multiple of the patch size. The views of one time step are one scene, the first camera's view first, since
    VGGT gives the first view tokens of its own.

    Args:
        weights: a ``.safetensors`` or ``.pt`` file of VGGT, or a folder with ``model.safetensors`` or ``model.pt``.
        view_size: (height, width) of the images, pixels.

    Raises:
        ValueError: no weights there, or they are not VGGT's.
    """

    wants: Wants = "images"

    def __init__(self, weights: Path, view_size: tuple[int, int]) -> None:
        file = weights_file(weights)
        log.warning(LICENCE, file)
        self.model = load_aggregator(file)
        config = self.model.config
        self.view_size = view_size
        longer = config.image_size / max(view_size)
        self.grid = (
            max(1, round(view_size[0] * longer / config.patch_size)),
            max(1, round(view_size[1] * longer / config.patch_size)),
        )
        self.dim = 2 * config.width
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.fingerprint = f"vggt-{digest[:16]}-bicubic-grid{self.grid[0]}x{self.grid[1]}"
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.requires_grad_(False).eval().to(self._device)

    @torch.inference_mode()
    def features(self, frames: Tensor) -> Tensor:
        """uint8 RGB images (B, V, H, W, 3) → (B, V, h, w, dim) float32, on the images' device.

        Computed in bfloat16 on a GPU, as the public code runs it, and in float32 elsewhere.

        Raises:
            ValueError: not such images.
        """
        if frames.ndim != 5 or frames.dtype != torch.uint8 or tuple(frames.shape[2:]) != (*self.view_size, 3):
            raise ValueError(
                f"vggt teacher: expected uint8 images (B, V, {self.view_size[0]}, {self.view_size[1]}, 3), got "
                f"{tuple(frames.shape)} {frames.dtype}"
            )
        return torch.cat([self._scenes(some).to(frames.device) for some in frames.split(SCENES_AT_ONCE)])

    def _scenes(self, frames_BVHW3: Tensor) -> Tensor:
        batch, views = frames_BVHW3.shape[:2]
        images = frames_BVHW3.to(self._device).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        size = tuple(side * self.model.config.patch_size for side in self.grid)
        resized = F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            tokens_BVTK = self.model(resized.view(batch, views, 3, *size))
        patches: Tensor = tokens_BVTK[:, :, self.model.special :].unflatten(2, self.grid)
        return patches.float()


def weights_file(path: Path) -> Path:
    """The file of weights that ``path`` means.

    Raises:
        ValueError: there is none.
    """
    candidates = [path] if path.is_file() else [path / "model.safetensors", path / "model.pt"]
    for file in candidates:
        if file.is_file() and file.suffix in (".safetensors", ".pt"):
            return file
    raise ValueError(
        f"{path}: no VGGT weights there; expected a .safetensors or .pt file, or a folder with model.safetensors or "
        "model.pt. Fetch them once with 'hf download facebook/VGGT-1B --local-dir FOLDER' (non-commercial licence)"
    )


def load_aggregator(file: Path) -> Aggregator:
    """The aggregator in a file of VGGT weights, sizes as they are there; heads are left out.

    Raises:
        ValueError: the file holds no VGGT aggregator, or not all of it.
    """
    if file.suffix == ".safetensors":
        everything = load_file(file)
    else:
        everything = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    state = {name.removeprefix(PREFIX): value for name, value in everything.items() if name.startswith(PREFIX)}
    state = {name: value for name, value in state.items() if name not in UNUSED}
    try:
        config = sizes(state)
    except KeyError as error:
        raise ValueError(f"{file}: holds no VGGT aggregator: {PREFIX}{error.args[0]} is missing") from None
    with torch.device("meta"):
        model = Aggregator(config)
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ state.keys())
    wrong += sorted(name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape)
    if wrong:
        raise ValueError(
            f"{file}: not the aggregator of a VGGT: {len(wrong)} parameters are missing, unknown or of another shape, "
            f"the first is {PREFIX}{wrong[0]}"
        )
    model.load_state_dict(state, assign=True)
    return model.float()


def sizes(state: dict[str, Tensor]) -> AggregatorConfig:
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
        depth=_count(state, "frame_blocks"),
        encoder_depth=_count(state, "patch_embed.blocks"),
        registers=registers,
    )


def _count(state: dict[str, Tensor], blocks: str) -> int:
    numbers = {int(found[1]) for name in state if (found := re.match(rf"{re.escape(blocks)}\.(\d+)\.", name))}
    return len(numbers)
