"""What the diagnostics share: their options, loading policies, and writing the folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro
from PIL import Image as Pillow
from rich.table import Table

from thinkvla.ablations import ablation
from thinkvla.checkpoint import fingerprint
from thinkvla.contract import Image
from thinkvla.deploy import DeployedPolicy, load_policy
from thinkvla.diagnose.moments import Moment
from thinkvla.evaluate.diagnosis import Diagnosis, Picture
from thinkvla.evaluate.names import policy_names
from thinkvla.progress import progress

PICTURES = 4
"""Observations that are drawn."""
BATCH = 16
"""Observations that a policy looks at together."""


@dataclass(frozen=True)
class DiagnoseOptions:
    """Which policies to look into, and on what.

    Attributes:
        checkpoints: folders of checkpoints or names of shipped policies, in the order to show them.
        output: new folder for pictures and numbers.
        suite: name of the suite whose held-out scenes are looked at.
        observations: how many moments, of as many scenes, the numbers are over; the first few are drawn.
    """

    checkpoints: tyro.conf.Positional[tuple[str, ...]]
    output: Path
    suite: str = "object"
    observations: int = 32

    def plain(self) -> dict[str, object]:
        """The options as JSON-ready values."""
        return asdict(self) | {"checkpoints": list(self.checkpoints), "output": str(self.output)}


@dataclass(frozen=True)
class Examined:
    """A policy to look into: its short name, its checkpoint as it was given, and that checkpoint's SHA-256."""

    name: str
    checkpoint: str
    fingerprint: str
    policy: DeployedPolicy


def load(options: DiagnoseOptions) -> list[Examined]:
    """The policies that ``options`` name.

    Raises:
        ValueError: none is named, the output exists, a folder is no checkpoint, or its policy does not see whole views
            and nothing else.
    """
    if not options.checkpoints:
        raise ValueError("diagnose: no checkpoint is given; give at least one, e.g. runs/tabletop/policy")
    if options.output.exists():
        raise ValueError(f"output folder {options.output} exists already; choose another name or remove it")
    names = policy_names(options.checkpoints)
    found = []
    for checkpoint, name in names.items():
        policy = load_policy(checkpoint)
        if policy.preprocessor.crop < 1:
            raise ValueError(
                f"diagnose: '{checkpoint}' is shown {policy.preprocessor.crop} of a view's area (data.crop), but "
                "pictures and figures here are of whole views; only policies without crops can be diagnosed"
            )
        if policy.policy.config.explicit_points:
            raise ValueError(
                f"diagnose: '{checkpoint}' is given true 3D points (method.explicit_points), which robots' cameras do "
                "not bring; only policies that see images alone can be diagnosed"
            )
        row = ablation(policy.policy.config)
        found.append(Examined(name + (f" ({row})" if row else ""), checkpoint, fingerprint(checkpoint), policy))
    return found


def batches(seen: Sequence[Moment]) -> list[Sequence[Moment]]:
    """The moments in parts that a policy looks at together."""
    return [seen[start : start + BATCH] for start in range(0, len(seen), BATCH)]


def progress_over(examined: Sequence[Examined], description: str) -> Iterator[Examined]:
    """The policies one after the other, with a display of how many are done."""
    with progress("policy") as display:
        yield from display.track(examined, description=description)


def save_sheet(folder: Path, name: str, image: Image, moment: Moment, words: str = "") -> Picture:
    """Write a PNG into the folder; its caption says which moment it is, after ``words``."""
    Pillow.fromarray(image).save(folder / name, optimize=True)
    told = f"“{moment.observation.instruction}”, step {moment.step}, seed {moment.seed}"
    return Picture(name, f"{words} {told}".strip())


def now() -> str:
    """The time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def mean_of(values: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean of each quantity over observations, over those that have it; None where none has."""
    means: dict[str, float | None] = {}
    for name in values[0]:
        known = [value for row in values if (value := row[name]) is not None]
        means[name] = sum(known) / len(known) if known else None
    return means


def origins(
    seen: Sequence[Moment], numbers: Mapping[str, Sequence[Mapping[str, float | None]]]
) -> tuple[Mapping[str, Any], ...]:
    """Where each observation is from, with each policy's numbers for it; ``numbers`` is name → one row a moment."""
    return tuple(
        moment.origin | {"numbers": {name: rows[number] for name, rows in numbers.items()}}
        for number, moment in enumerate(seen)
    )


def numbers_table(diagnosis: Diagnosis) -> Table:
    """The numbers for the terminal: a row for each quantity, a column for each policy."""
    table = Table("quantity", title=f"{diagnosis.kind}, mean over {len(diagnosis.observations)} observations")
    for name in diagnosis.numbers:
        table.add_column(name, justify="right")
    for quantity in dict.fromkeys(name for values in diagnosis.numbers.values() for name in values):
        found = [values.get(quantity) for values in diagnosis.numbers.values()]
        table.add_row(quantity, *("–" if value is None else f"{value:.3f}" for value in found))
    return table
