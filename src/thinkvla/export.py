"""``thinkvla export``: a policy as a Hugging Face folder with a model card made from its run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from thinkvla.checkpoint import fingerprint
from thinkvla.data.hub import stated_licence
from thinkvla.evaluate.qa_results import FILE_NAME as ANSWERS
from thinkvla.evaluate.qa_results import QAResult
from thinkvla.evaluate.results import EvaluationResult
from thinkvla.files import new_folder
from thinkvla.model_card import Evaluation, base_model, model_card
from thinkvla.shipped import find_model, shipped_models

CARD = "README.md"
_COMMAND = "command.txt"
_LEFT_BEHIND = ("training", CARD)


@dataclass(frozen=True)
class ExportOptions:
    """Write a policy as a Hugging Face folder with a model card.

    Attributes:
        policy: run folder of 'thinkvla train' (its final policy is taken), or the folder of a policy or checkpoint.
        folder: where to write; must not exist.
        evaluations: folders of 'thinkvla eval' (with or without --qa) of this policy, whose results the card shows.
        license: licence of the policy as an identifier of the Hub; unstated by default.
        name: name of the policy on its card; that of the folder by default.
    """

    policy: tyro.conf.Positional[Path]
    folder: tyro.conf.Positional[Path]
    evaluations: tuple[Path, ...] = ()
    license: str | None = None
    name: str | None = None


def export(options: ExportOptions) -> Path:
    """Write the folder and return it.

    Raises:
        ValueError: there is no complete policy, the folder exists, or an evaluation is of another policy.
    """
    policy, run = _find(options.policy)
    mark = fingerprint(policy)
    evaluations = [_evaluation(folder, mark) for folder in options.evaluations]
    config, versions, data = (_read(run, name) for name in ("config.json", "versions.json", "data.json"))
    command = None if run is None or not (run / _COMMAND).is_file() else (run / _COMMAND).read_text("utf-8").strip()
    name = options.name or options.folder.resolve().name
    card = model_card(
        name,
        method=json.loads((policy / "config.json").read_text(encoding="utf-8"))["method"],
        fingerprint=mark,
        command=command,
        config=config,
        versions=versions,
        data=data,
        base_licence=_base_licence(config),
        steps=_steps(policy),
        evaluations=evaluations,
        license=options.license,
    )
    with new_folder(options.folder) as partial:
        for path in sorted(policy.iterdir()):
            if path.is_file() and path.name not in _LEFT_BEHIND:
                shutil.copy(path, partial / path.name)
        card.save(partial / CARD)
    return options.folder


def _find(path: Path) -> tuple[Path, Path | None]:
    """The folder of the policy, and that of its run where there is one."""
    if (path / "checkpoints").is_dir() or (path / "metrics.jsonl").is_file():
        if not (path / "policy").is_dir():
            raise ValueError(f"{path}: the run has no final policy yet; resume it, or give one of its checkpoints")
        return path / "policy", path
    policy = find_model(path)
    runs = [parent for parent in policy.resolve().parents[:2] if (parent / "versions.json").is_file()]
    return policy, runs[0] if runs else None


def _read(run: Path | None, name: str) -> Any:
    """What a run recorded under this name; None if it did not."""
    return None if run is None or not (run / name).is_file() else json.loads((run / name).read_text(encoding="utf-8"))


def _base_licence(config: Mapping[str, Any] | None) -> str | None:
    """What the card of a base model in a folder, or a shipped one, states; None of one on the Hub."""
    base = base_model(config)
    if base is None or not (Path(base).is_dir() or base in shipped_models()):
        return None
    return stated_licence(find_model(base) / CARD)


def _steps(policy: Path) -> int | None:
    """Optimizer steps of a checkpoint; None of a final policy."""
    number = policy.name.removeprefix("step-")
    return int(number) if number != policy.name and number.isdigit() else None


def _evaluation(folder: Path, mark: str) -> Evaluation:
    """An evaluation's rows for the card; raises ValueError if it is not of the policy with this fingerprint."""
    answers = (folder / ANSWERS).is_file()
    result: EvaluationResult | QAResult = QAResult.load(folder) if answers else EvaluationResult.load(folder)
    if result.fingerprint != mark:
        raise ValueError(
            f"{folder}: evaluates the policy {result.fingerprint} ({result.policy}), not this one, {mark}; evaluate it "
            "again or leave the folder out"
        )
    if isinstance(result, QAResult):
        rows = [
            (f"{kind.upper()} questions", rate.right, rate.questions, rate.low, rate.high)
            for kind, rate in result.totals.items()
        ]
        return Evaluation("questions answered right", tuple(rows), result.options, result.created)
    scenes = f"{result.suite}, {result.perturbation} {result.level}" if result.perturbation else result.suite
    rate = result.total
    row = (scenes, rate.successes, rate.episodes, rate.low, rate.high)
    return Evaluation("success in closed loop", (row,), result.options, result.created)
