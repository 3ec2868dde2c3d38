"""What the parity scripts of the geometry teachers share: random weights that matter, differences, golden files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

LARGEST = 1e-5  # difference that counts as parity; values reach about 5
# Scenes, views, height, width in patches: the table's own grid, larger and smaller ones, and some that are not square.
SHAPES = [(2, 1, 4, 4), (1, 2, 6, 6), (1, 3, 3, 5), (2, 2, 7, 4)]


def shake(model: nn.Module, generator: torch.Generator) -> None:
    """Random values where initialization leaves constants, so that every parameter matters."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "gamma" in name:
                value.uniform_(0.2, 1.0, generator=generator)
            elif "token" in name or "pos_embed" in name:
                value.normal_(0, 0.5, generator=generator)
            elif value.ndim == 1:
                value.add_(0.1 * torch.randn(value.shape, generator=generator))


@torch.inference_mode()
def differences(
    ours: nn.Module,
    theirs: Callable[[Tensor], Tensor],
    patch_size: int,
    shapes: Sequence[tuple[int, int, int, int]],
    generator: torch.Generator,
) -> dict[str, Any]:
    """Largest difference of the last output for each shape (scenes, views, height, width in patches) of the input.

    Raises SystemExit where one is larger than LARGEST.
    """
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in ours.parameters())}
    for scenes, views, rows, columns in shapes:
        images = torch.rand(scenes, views, 3, rows * patch_size, columns * patch_size, generator=generator)
        expected = theirs(images)
        difference = float((ours(images) - expected).abs().max())
        found[f"{scenes} x {views} x {rows} x {columns}"] = {
            "max_abs_difference": difference,
            "max_abs_value": round(float(expected.abs().max()), 3),
        }
        if difference > LARGEST:
            raise SystemExit(f"no parity: {found}")
    return found


@torch.inference_mode()
def write_golden(model: nn.Module, patch_size: int, prefix: str, file: Path) -> None:
    """The weights under their published names, images and what ours makes of them."""
    images = torch.rand(1, 2, 3, 3 * patch_size, 5 * patch_size, generator=torch.Generator().manual_seed(1))
    weights = {prefix + name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights | {"images": images, "features": model(images).contiguous()}, file)
