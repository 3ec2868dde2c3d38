"""The paper's ablation table: what of the method each of its rows switches on."""

from __future__ import annotations

from thinkvla.method.config import MethodConfig, QAData

# QA data, geometry adapter, reasoning adapter, reasoning anchor.
ABLATIONS: dict[str, tuple[QAData, bool, bool, bool]] = {
    "R1": ("none", False, False, False),
    "R2": ("2d", False, False, False),
    "R3": ("3d", False, False, False),
    "R4": ("3d", True, False, False),
    "R5": ("3d", True, True, False),
    "R6": ("3d", True, False, True),
    "R7": ("3d", True, True, True),
}


def ablation(method: MethodConfig) -> str | None:
    """The row of the table that a method is, R1 to R7; None for any other, as one that is given 3D points."""
    switches = (method.qa_data, method.geometry_adapter, method.reasoning_adapter, method.reasoning_anchor)
    found = next((row for row, values in ABLATIONS.items() if values == switches), None)
    return None if method.explicit_points else found
