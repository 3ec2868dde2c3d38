"""``thinkvla results keep``: a small file of a policy's evaluations, from its run and the folders of results."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from safetensors import safe_open

from thinkvla.ablations import ablation
from thinkvla.checkpoint import fingerprint, load_method
from thinkvla.evaluate.report import find_results
from thinkvla.evaluate.results import EvaluationResult
from thinkvla.files import new_file
from thinkvla.method.config import MethodConfig
from thinkvla.results.kept import EXPLICIT, Kept, KeptEvaluation, KeptPolicy
from thinkvla.shipped import find_model, shipped_models

_OF_A_MACHINE = ("assets", "checkpoint", "output", "workers", "videos", "platform", "cores")


@dataclass(frozen=True)
class KeepOptions:
    """Write a small file of a policy's evaluations, for 'thinkvla results'.

    Attributes:
        policy: run folder of 'thinkvla train', or name of a shipped policy.
        evaluations: folders in or below which its results are, of 'thinkvla eval' and 'thinkvla grid'.
        output: file to write, e.g. docs/results/NAME.json; an older one is replaced.
    """

    policy: tyro.conf.Positional[str]
    evaluations: tyro.conf.Positional[tuple[Path, ...]]
    output: Path


def keep(options: KeepOptions) -> Path:
    """Write the file and return its path.

    Raises:
        ValueError: there is no such policy, its run did not record its command, no results are there, or one is of
            another policy.
    """
    policy = _policy(options.policy)
    folders = find_results(options.evaluations).evaluations
    if not folders:
        raise ValueError(f"{list(map(str, options.evaluations))} hold no evaluations in closed loop; give some")
    evaluations = [_evaluation(folder, policy.fingerprint) for folder in folders]
    evaluations.sort(key=lambda one: (one.benchmark, one.suite, one.perturbation or "", one.level))
    text = Kept(options.output.stem, policy, tuple(evaluations)).to_json()
    with new_file(options.output, len(text)) as partial:
        partial.write_text(text, encoding="utf-8")
    return options.output


def _policy(name: str) -> KeptPolicy:
    if name in shipped_models():  # shipped policies bear the name of the recipe that made them
        folder, recipe, config, data = find_model(name), name, None, None
    else:
        folder, recipe = Path(name) / "policy", _recipe(Path(name) / "command.txt")
        config, data = (json.loads((Path(name) / file).read_text("utf-8")) for file in ("config.json", "data.json"))
    robot = [one for one in data or () if one["kind"] == "demonstrations"]
    return KeptPolicy(
        recipe=recipe,
        method=method_name(load_method(folder)),
        fingerprint=fingerprint(folder),
        parameters=_parameters(folder / "model.safetensors"),
        seed=config["seed"] if config else None,
        demonstrations=sum(one["episodes"] for one in robot) if robot else None,
        frames=sum(one["frames"] for one in robot) if robot else None,
        samples=config["steps"] * config["batch_size"] * config["accumulation"] if config else None,
    )


def method_name(method: MethodConfig) -> str:
    """Row of the paper's ablation table, or the explicit-3D baseline; raises ValueError for any other method."""
    if method.explicit_points and ablation(replace(method, explicit_points=False)) == "R1":
        return EXPLICIT
    row = ablation(method)
    if row is None:
        raise ValueError(f"the policy's method is no row of the ablation table: {method}; only those are compared")
    return row


def _recipe(file: Path) -> str:
    if not file.is_file():
        raise ValueError(f"{file} is missing; give the folder of a run of 'thinkvla train', which records its command")
    words = shlex.split(file.read_text("utf-8"))
    if words[:2] != ["thinkvla", "train"] or len(words) < 3:
        raise ValueError(f"{file}: the command is {words[:3]}, expected 'thinkvla train RECIPE'")
    return words[2]


def _parameters(weights: Path) -> int:
    with safe_open(weights, framework="np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _evaluation(folder: Path, mark: str) -> KeptEvaluation:
    result = EvaluationResult.load(folder)
    if result.fingerprint != mark:
        raise ValueError(
            f"{folder}: evaluates the policy {result.fingerprint} ({result.policy}), not this one, {mark}; evaluate it "
            "again or leave the folder out"
        )
    return KeptEvaluation(
        benchmark=result.benchmark,
        suite=result.suite,
        perturbation=result.perturbation,
        level=result.level,
        successes=result.total.successes,
        episodes=result.total.episodes,
        errors=result.total.errors,
        tasks={name: (rate.successes, rate.episodes) for name, rate in result.tasks.items()},
        options=_portable(result.options.items()),
        versions=_portable(result.versions.items()),
        protocol=dict(result.protocol),
        simulator=_portable(result.simulator.items()),
        created=result.created,
    )


def _portable(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in values if name not in _OF_A_MACHINE}
