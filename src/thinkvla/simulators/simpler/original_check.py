"""Checks the environment of the original SimplerEnv from inside: what is there, what its user has yet to install."""

from __future__ import annotations

import importlib
import json
from typing import Any

from thinkvla.simulators.simpler.protocol import versions

NEEDED = ("sapien", "mani_skill2_real2sim", "simpler_env")


def main() -> None:
    """Print one JSON object: what was found, and ``problems``. No frame is rendered."""
    found: dict[str, Any] = dict(versions())
    problems = []
    for module in NEEDED:
        try:
            importlib.import_module(module)
        except ImportError as error:
            problems.append(f"{module} cannot be imported: {error}; docs/benchmarks.md says how to complete it")
    print(json.dumps({**found, "problems": problems}))


if __name__ == "__main__":
    main()
