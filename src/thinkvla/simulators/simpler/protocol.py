"""The rules under which episodes run, for the result file: a success rate means little without them."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from thinkvla.simulators.simpler.tasks import CONTROL_HZ, LAYOUTS, LIMITS

PACKAGES = ("mani-skill", "sapien", "torch", "numpy", "vla-eval")


def protocol(max_steps: int) -> dict[str, Any]:
    """What the original SimplerEnv and ManiSkill3 have in common."""
    return {
        "step limit": max_steps,
        "step limits elsewhere": LIMITS,
        "success": "the task is done at the last step, which is at the limit",
        "control": f"{CONTROL_HZ:g} Hz",
        "layouts": f"{LAYOUTS} a task, by episode number",
        "image": "640 x 480, INTER_AREA to the policy's size, without regard to its proportions",
        "rotation": "roll, pitch, yaw about the hand, from where the controller aims",
        "gripper": "open above 0.5, else closed",
    }


def versions() -> dict[str, str]:
    """Package → version in this environment, of those that are there."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
