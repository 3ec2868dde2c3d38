"""The software and machine a result was made with; saved beside every result."""

from __future__ import annotations

import os
import platform
from importlib import metadata

PACKAGES = ("thinkvla", "torch", "transformers", "accelerate", "numpy", "mujoco", "vla-eval", "av", "pyarrow")


def versions() -> dict[str, str]:
    """Name → version of Python and of each package installed, and the machine's processor and cores."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": str(os.cpu_count()),
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
