"""The user's copy of LIBERO-Plus, made importable: its configuration, and what it asks of torch and gym."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from thinkvla.environments.linked import linked
from thinkvla.simulators.libero_plus.init_states import without_torch

CONFIGURATION = "libero_plus"
"""Folder of the environment, in which LIBERO-Plus finds where its files are."""


def prepare() -> None:
    """Have ``import libero.libero`` mean the linked repository.

    Where it imports gym, which is no longer maintained, it gets gymnasium.

    Raises:
        ValueError: nothing is linked to this environment, or what was is gone.
    """
    found = linked()
    root = Path(found["repository"]) / "libero" / "libero"
    paths = {
        "benchmark_root": str(root),
        "bddl_files": str(root / "bddl_files"),
        "init_states": str(root / "init_files"),
        "datasets": str(root.parent / "datasets"),
        "assets": found["assets"],
    }
    folder = Path(sys.prefix) / CONFIGURATION
    folder.mkdir(exist_ok=True)
    partial = folder / f"config.{os.getpid()}.partial"  # several simulators may start at once
    partial.write_text(json.dumps(paths), "utf-8")
    partial.replace(folder / "config.yaml")
    os.environ["LIBERO_CONFIG_PATH"] = str(folder)
    without_torch()
    sys.modules.setdefault("gym", importlib.import_module("gymnasium"))
