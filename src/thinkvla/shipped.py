"""Models that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

TINY_BASE = Path(__file__).parent / "backbones" / "tiny_base"
"""The pre-trained tiny backbone, ``tiny``: laid out as a published Qwen3-VL; its README.md is its card."""
POLICIES = Path(__file__).parent / "policies"
"""Policies trained from it, by the name of their folder; each has its card."""


def shipped_models() -> dict[str, Path]:
    """Name → folder of every model that ships."""
    policies = {path.name: path for path in sorted(POLICIES.iterdir()) if (path / "config.json").is_file()}
    return {**policies, "tiny": TINY_BASE}


def find_model(name: Path | str) -> Path:
    """A model's folder from its path, or from the name of a shipped one.

    Raises:
        ValueError: there is no such folder and nothing of that name ships.
    """
    path = Path(name)
    if path.is_dir():
        return path
    shipped = shipped_models()
    if str(name) not in shipped:
        raise ValueError(f"'{name}' is no folder, and no model of that name is shipped; shipped are {list(shipped)}")
    return shipped[str(name)]
