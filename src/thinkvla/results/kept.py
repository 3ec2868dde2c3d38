"""Small files of what a policy's evaluations found, fit to be kept beside the code: counts, settings and versions.

``thinkvla results keep`` writes them from the folders of evaluations (``keep.py``); they hold no path of a machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

FORMAT = "thinkvla-kept-results/1"
EXPLICIT = "explicit 3D"
"""What stands for a row of the ablation table in a policy that is given true points."""


@dataclass(frozen=True)
class KeptPolicy:
    """Which policy it was, as its run recorded it; None where the run did not.

    Attributes:
        recipe: name of the recipe.
        method: row of the paper's ablation table (R1 to R7), or ``EXPLICIT``.
        fingerprint: of its files.
        parameters: numbers in its weights.
        seed: of the run.
        demonstrations: episodes it was trained on, those held out included.
        frames: their control steps.
        samples: demonstrations' chunks over all optimizer steps.
    """

    recipe: str
    method: str
    fingerprint: str
    parameters: int
    seed: int | None
    demonstrations: int | None
    frames: int | None
    samples: int | None


@dataclass(frozen=True)
class KeptEvaluation:
    """One evaluation.

    Attributes:
        benchmark: which benchmark, e.g. ``tabletop``.
        suite: which suite of it.
        perturbation: axis of the scenes' perturbation; None for plain scenes.
        level: its level; 0 for plain scenes.
        successes: episodes that succeeded.
        episodes: episodes that ran.
        errors: episodes that ended in an error, not among ``episodes``.
        tasks: task → successes and episodes.
        options: of the evaluation, without paths.
        versions: of the software.
        protocol: rules of the episodes, as the benchmark states them.
        simulator: software of the simulator's own process, if it has one.
        created: when it was started.
    """

    benchmark: str
    suite: str
    perturbation: str | None
    level: int
    successes: int
    episodes: int
    errors: int
    tasks: Mapping[str, tuple[int, int]]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    protocol: Mapping[str, Any]
    simulator: Mapping[str, str]
    created: str


@dataclass(frozen=True)
class Kept:
    """A policy and its evaluations."""

    name: str
    policy: KeptPolicy
    evaluations: tuple[KeptEvaluation, ...]

    def to_json(self) -> str:
        """The file's text, an evaluation a line."""
        evaluations = ",\n".join(json.dumps(asdict(one)) for one in self.evaluations)
        policy = json.dumps(asdict(self.policy))
        return f'{{"format": {json.dumps(FORMAT)},\n"policy": {policy},\n"evaluations": [\n{evaluations}\n]}}\n'


def load_kept(file: Path) -> Kept:
    """Read a file; raises ValueError naming it when it is not one."""
    try:
        values = json.loads(file.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is no JSON ({error}); make it by 'thinkvla results keep'") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise ValueError(f"{file}: format is {found!r}, expected {FORMAT!r}; make it by 'thinkvla results keep'")
    evaluations = []
    for number, one in enumerate(values["evaluations"]):
        _require(one, KeptEvaluation, f"{file}: evaluation {number}")
        tasks = {name: (int(successes), int(episodes)) for name, (successes, episodes) in one["tasks"].items()}
        evaluations.append(KeptEvaluation(**{**one, "tasks": tasks}))
    _require(values["policy"], KeptPolicy, f"{file}: policy")
    return Kept(file.stem, KeptPolicy(**values["policy"]), tuple(evaluations))


def load_all(folder: Path) -> tuple[Kept, ...]:
    """Every file of a folder, by name; raises ValueError when the folder is not there or a file is not one."""
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist; give the folder of 'thinkvla results keep' files")
    return tuple(load_kept(file) for file in sorted(folder.glob("*.json")))


def _require(values: Mapping[str, Any], kind: type[KeptPolicy] | type[KeptEvaluation], where: str) -> None:
    wrong = sorted(set(values) ^ {field.name for field in fields(kind)})
    if wrong:
        raise ValueError(
            f"{where}: keys {wrong} are missing or unknown; make the file again by 'thinkvla results keep'"
        )
