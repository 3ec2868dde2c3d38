"""How a trained policy became a shipped one: ``python -m thinkvla.recipes.ship RUN NAME``.

Copies ``RUN/policy`` to ``thinkvla/policies/NAME`` with weights rounded to bfloat16, half the size; figures of a
shipped policy are measured on the rounded weights. Its card, README.md, is written by hand.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from thinkvla.files import new_folder
from thinkvla.shipped import POLICIES

WEIGHTS = "model.safetensors"


def ship(policy: Path, folder: Path) -> None:
    """Copy the checkpoint ``policy`` to the new ``folder``, weights in bfloat16.

    Raises:
        ValueError: ``folder`` exists, or ``policy`` has no weights.
    """
    if not (policy / WEIGHTS).is_file():
        raise ValueError(f"{policy / WEIGHTS} is missing: '{policy}' is not a checkpoint folder")
    with new_folder(folder) as partial:
        for path in policy.iterdir():
            if path.name != WEIGHTS:
                shutil.copy(path, partial / path.name)
        rounded = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(policy / WEIGHTS).items()}
        save_file(rounded, partial / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    ship(Path(sys.argv[1]) / "policy", POLICIES / sys.argv[2])
