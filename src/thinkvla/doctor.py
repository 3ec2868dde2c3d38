"""Is this machine ready? Versions, the accelerator, one rendered frame, and the simulators' environments."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table

from thinkvla.environments.check import check, installed
from thinkvla.versions import versions


def doctor() -> int:
    """Print what is there and what is not; returns 0 if everything installed works, else 1."""
    table = Table("what", "state", title="thinkvla doctor")
    for name, value in versions().items():
        table.add_row(name, value)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none (the CPU is used)"
    table.add_row("accelerator", gpu)
    rendering, works = _rendering()
    table.add_row("rendering", rendering)
    console = Console()
    console.print(table)
    reports = [check(name) for name in installed()]
    for report in reports:
        console.print(report.table())
    return 0 if works and not any(report.problems for report in reports) else 1


def _rendering() -> tuple[str, bool]:
    try:
        from thinkvla.tabletop.suites import suite
        from thinkvla.tabletop.world import World
    except ModuleNotFoundError as error:
        return f"not checked: '{error.name}' is not installed (extra 'tabletop')", True
    try:
        with World(suite("object")[0]) as world:
            world.reset(0)
            images = world.observe().images
    except RuntimeError as error:
        return str(error), False
    return ", ".join(f"{camera} {image.shape[1]} × {image.shape[0]} px" for camera, image in images.items()), True
