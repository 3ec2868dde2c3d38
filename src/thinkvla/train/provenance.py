"""What a run was trained on and how it was started: RUN/provenance.json, which a model card is made from.

Data sets stand there with their revision on the Hub, a fingerprint (of actions and of rows, not of images) and the
licence they state. A run is not resumed with other data than it was started with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from thinkvla.data.hub import find_source, stated_licence
from thinkvla.data.spatial_qa import QADataset
from thinkvla.train.config import TrainConfig
from thinkvla.train.mixture import CoTrainingData

FILE = "provenance.json"


def provenance(config: TrainConfig, data: CoTrainingData, command: str | None) -> dict[str, Any]:
    """The data sets of a run, and the command line that started it (None if it was not one), as plain values."""
    source = find_source(data.episodes.path)
    robot = {
        "kind": "episodes",
        "address": str(data.episodes.path),
        "revision": source.revision,
        "fingerprint": data.episodes.fingerprint,
        "licence": stated_licence(source.card),
        "episodes": len(data.episodes.episodes),
        "frames": len(data.episodes),
    }
    asked = [] if data.questions is None else [_questions(one) for one in data.questions.sets]
    base = config.backbone.name if config.start is None else str(config.start)
    return {"command": command, "base": base, "data": [robot, *asked]}


def record_provenance(folder: Path, values: dict[str, Any]) -> None:
    """Write what :func:`provenance` found into a run's folder."""
    (folder / FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def check_provenance(folder: Path, values: dict[str, Any]) -> None:
    """Raise ValueError naming the data sets that are not those the run was started with."""
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{path} is missing: it is not known what the run was trained on; start a new run")
    then = json.loads(path.read_text(encoding="utf-8"))["data"]
    changed = [_named(one) for one in values["data"] if one not in then] + [
        _named(one) for one in then if one not in values["data"]
    ]
    if changed:
        raise ValueError(
            f"{path}: the run's data sets are not what they were; these differ: {', '.join(dict.fromkeys(changed))}. "
            "Restore them (a Hub data set by @revision), or start a new run"
        )


def _questions(questions: QADataset) -> dict[str, Any]:
    return {
        "kind": "spatial questions" if questions.spatial else "general questions",
        "address": questions.source.address,
        "revision": questions.source.revision,
        "fingerprint": questions.fingerprint(),
        "licence": stated_licence(questions.source.card),
        "rows": len(questions),
        "left_out": questions.left_out,
    }


def _named(one: dict[str, Any]) -> str:
    return f"{one['kind']} {one['address']}"
