"""What ``thinkvla diagnose`` found, as a folder: pictures, and numbers in ``diagnosis.json``.

The diagnostics themselves live elsewhere: they need the geometry teacher, which nothing here may know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

FORMAT = "thinkvla-diagnosis/1"
FILE_NAME = "diagnosis.json"
KINDS = ("attention", "geometry", "gap")


@dataclass(frozen=True)
class Picture:
    """One picture: its PNG file's name in the folder, and what it shows."""

    file: str
    caption: str


@dataclass(frozen=True)
class Diagnosis:
    """One diagnostic of one or several policies.

    Attributes:
        kind: ``attention``, ``geometry`` or ``gap``.
        explanation: how the numbers and pictures are made and what they mean, in a few sentences.
        policies: name → path of the checkpoint.
        fingerprints: name → SHA-256 of the checkpoint's files.
        numbers: name → quantity → its value; None where a policy does not have it.
        pictures: in the order to show them.
        observations: where each observation is from, with its own numbers.
        options: the options of the command, as plain values.
        versions: software and machine, from ``thinkvla.versions``.
        created: when it was started, ISO 8601, UTC.
    """

    kind: str
    explanation: str
    policies: Mapping[str, str]
    fingerprints: Mapping[str, str]
    numbers: Mapping[str, Mapping[str, float | None]]
    pictures: tuple[Picture, ...]
    observations: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    created: str

    def save(self, folder: Path) -> None:
        """Write ``diagnosis.json`` into an existing folder."""
        values = {"format": FORMAT, **asdict(self)}
        (folder / FILE_NAME).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")

    @staticmethod
    def load(folder: Path) -> Diagnosis:
        """Read a diagnosis's folder; raises ValueError naming the file when it is not one."""
        file = folder / FILE_NAME
        if not file.is_file():
            raise ValueError(f"{file} does not exist; give the output folder of 'thinkvla diagnose'")
        values = json.loads(file.read_text("utf-8"))
        if values.get("format") != FORMAT:
            raise ValueError(
                f"{file}: format is {values.get('format')!r}, this version reads {FORMAT!r}; diagnose again"
            )
        names = [field.name for field in fields(Diagnosis)]
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(f"{file}: keys {missing} are missing; diagnose again")
        own = {name: values[name] for name in names}
        if own["kind"] not in KINDS:
            raise ValueError(f"{file}: kind is {own['kind']!r}, expected one of {list(KINDS)}; diagnose again")
        own["pictures"] = tuple(Picture(**picture) for picture in values["pictures"])
        own["observations"] = tuple(values["observations"])
        return Diagnosis(**own)
