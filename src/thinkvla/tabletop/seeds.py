"""The published seeds: scenes for training and scenes for testing never meet."""

from __future__ import annotations

from typing import Literal


def seeds(split: Literal["training", "test"]) -> range:
    """Seeds of a split: 0..99,999 for training, 1,000,000..1,009,999 for testing."""
    return {"training": range(100_000), "test": range(1_000_000, 1_010_000)}[split]


EVALUATION = seeds("test")[4_000:]
"""Test seeds for policies. Those before were looked at while the expert and its noise were set."""
