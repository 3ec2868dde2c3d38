"""What teachers that see images share: weights from a file of yours, and how a robot's views enter the network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from thinkvla.teachers.protocol import Wants

SCENES_AT_ONCE = 8

State = dict[str, Tensor]


class LearnedTeacher:
    """A frozen network that sees images; a :class:`~thinkvla.teachers.protocol.GeometryTeacher`.

    Views keep their aspect: the longer side becomes ``image_size``, the shorter one the nearest multiple of the patch
    size. The views of one time step are one scene, the first camera's view first: networks of this kind give the first
    view tokens of its own.

    Args:
        name: of the kind of network.
        model: its weights; images (B, V, 3, H, W) in [0, 1] → features of patches (B, V, P, dim), in raster order.
        file: where they were read from; its content is part of the fingerprint.
        view_size: (height, width) of the images, pixels.
        image_size: of the longer side in the network, pixels.
        patch_size: pixels.
        dim: D_g, size of a patch's feature.
    """

    wants: Wants = "images"

    def __init__(
        self,
        name: str,
        model: nn.Module,
        file: Path,
        view_size: tuple[int, int],
        *,
        image_size: int,
        patch_size: int,
        dim: int,
    ) -> None:
        self.name, self.view_size, self.dim = name, view_size, dim
        longer = image_size / max(view_size)
        self.grid = (
            max(1, round(view_size[0] * longer / patch_size)),
            max(1, round(view_size[1] * longer / patch_size)),
        )
        self._size = tuple(side * patch_size for side in self.grid)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.fingerprint = f"{name}-{digest[:16]}-bicubic-grid{self.grid[0]}x{self.grid[1]}"
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.requires_grad_(False).eval().to(self._device)

    @torch.inference_mode()
    def features(self, frames: Tensor) -> Tensor:
        """uint8 RGB images (B, V, H, W, 3) → (B, V, h, w, dim) float32, on the images' device.

        Computed in bfloat16 on a GPU, as the public code runs it, and in float32 elsewhere.

        Raises:
            ValueError: not such images.
        """
        if frames.ndim != 5 or frames.dtype != torch.uint8 or tuple(frames.shape[2:]) != (*self.view_size, 3):
            raise ValueError(
                f"{self.name} teacher: expected uint8 images (B, V, {self.view_size[0]}, {self.view_size[1]}, 3), got "
                f"{tuple(frames.shape)} {frames.dtype}"
            )
        return torch.cat([self._scenes(some).to(frames.device) for some in frames.split(SCENES_AT_ONCE)])

    def _scenes(self, frames_BVHW3: Tensor) -> Tensor:
        batch, views = frames_BVHW3.shape[:2]
        images = frames_BVHW3.to(self._device).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        resized = F.interpolate(images, size=self._size, mode="bicubic", antialias=True).clamp(0, 1)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            patches_BVPG: Tensor = self.model(resized.view(batch, views, 3, *self._size))
        grid_BVhwG: Tensor = patches_BVPG.unflatten(2, self.grid).float()
        return grid_BVhwG


def weights_file(path: Path, kind: str, source: str) -> Path:
    """The file of weights that ``path`` means.

    Args:
        path: a file, or a folder with ``model.safetensors`` or ``model.pt``.
        kind: of network, as an error calls it.
        source: repository on the Hugging Face Hub that has such weights, with its licence.

    Raises:
        ValueError: there is none.
    """
    candidates = [path] if path.is_file() else [path / "model.safetensors", path / "model.pt"]
    for file in candidates:
        if file.is_file() and file.suffix in (".safetensors", ".pt"):
            return file
    name, licence = source.split(" ", 1)
    raise ValueError(
        f"{path}: no {kind} weights there; expected a .safetensors or .pt file, or a folder with model.safetensors or "
        f"model.pt. Fetch them once with 'hf download {name} --local-dir FOLDER' {licence}"
    )


def load_part(file: Path, prefix: str, kind: str, build: Callable[[State], nn.Module], unused: set[str]) -> nn.Module:
    """The part of a network whose parameters begin with ``prefix``, in float32, sizes as they are in the file.

    Args:
        file: of weights.
        prefix: of names; the rest of the file is left out.
        kind: of part, as an error calls it.
        build: makes an empty network from the part's state; raises KeyError where a parameter that tells a size is
            missing.
        unused: names of the part that the network does without.

    Raises:
        ValueError: the file holds no such part, or not all of it.
    """
    if file.suffix == ".safetensors":
        everything = load_file(file)
    else:
        everything = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    state = {name.removeprefix(prefix): value for name, value in everything.items() if name.startswith(prefix)}
    state = {name: value for name, value in state.items() if name not in unused}
    try:
        with torch.device("meta"):
            model = build(state)
    except KeyError as error:
        raise ValueError(f"{file}: holds no {kind}: {prefix}{error.args[0]} is missing") from None
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ state.keys())
    wrong += sorted(name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape)
    if wrong:
        raise ValueError(
            f"{file}: not the {kind}: {len(wrong)} parameters are missing, unknown or of another shape, the first is "
            f"{prefix}{wrong[0]}"
        )
    model.load_state_dict(state, assign=True)
    return model.float()


def count(state: State, blocks: str) -> int:
    """How many blocks of that name there are."""
    return len({int(found[1]) for name in state if (found := re.match(rf"{re.escape(blocks)}\.(\d+)\.", name))})
