"""Result files in comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def stable(folder: Path) -> dict[str, Any]:
    """The result file of an evaluation without timings and its own place."""
    values: dict[str, Any] = json.loads((folder / "results.json").read_text("utf-8"))
    for timing in ("created", "seconds"):
        del values[timing]
    for episode in values["episodes"]:
        del episode["seconds"]
    del values["options"]["output"]
    return values
