"""Initial states as torch saves them, read without torch and without running code that a file may hold."""

from __future__ import annotations

import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
"""What the pickle of a numpy array names."""


class _ArrayReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array does")
        return super().find_class(module, name)


def load_states(file: str | Path, **options: Any) -> NDArray[np.float64]:
    """The array of a file that ``torch.save`` wrote of one.

    Args:
        file: zip archive with one pickled array.
        options: of ``torch.load``; none matters here.

    Raises:
        ValueError: the file is missing or holds something else.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as stream:
                states: NDArray[np.float64] = np.asarray(_ArrayReader(stream).load())
    except FileNotFoundError:
        raise ValueError(f"{file} does not exist; the repository that the environment was linked to lacks it") from None
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError) as error:
        raise ValueError(f"{file} holds no array of initial states: {error}") from None
    return states


def without_torch() -> None:
    """Let code import torch that only wants to load initial states, where there is no torch."""
    if "torch" not in sys.modules:
        module = types.ModuleType("torch", "Stands in for torch: it loads initial states.")
        module.load = load_states  # type: ignore[attr-defined]
        module.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]  # scipy asks whether an array is one
        sys.modules["torch"] = module
