"""The model card of a policy, from what its run recorded; what is not recorded is said to be unknown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkvla import __version__

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_DATA = re.compile(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)")
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation of the policy found.

    Attributes:
        measures: what is counted.
        rows: what was asked for, successes, tries, and the ends of Wilson's 95 % interval in [0, 1].
        options: of the evaluation.
        created: when it was started.
    """

    measures: str
    rows: tuple[tuple[str, int, int, float, float], ...]
    options: Mapping[str, Any]
    created: str


def model_card(
    name: str,
    *,
    method: Mapping[str, Any],
    fingerprint: str,
    command: str | None,
    config: Mapping[str, Any] | None,
    versions: Mapping[str, str] | None,
    data: Sequence[Mapping[str, Any]] | None,
    base_licence: str | None,
    steps: int | None,
    evaluations: Sequence[Evaluation],
    license: str | None,
) -> ModelCard:
    """A card with front matter that the Hub reads.

    Args:
        name: of the policy.
        method: its switches.
        fingerprint: of its files.
        command: that started its run; None if it is not known, and so below.
        config: resolved configuration of its run.
        versions: software and machine it was trained with.
        data: what it was trained on.
        base_licence: licence that the base model states.
        steps: optimizer steps of a checkpoint that is not the final policy.
        evaluations: shown as tables.
        license: identifier, or None.
    """
    from huggingface_hub import ModelCard, ModelCardData

    base = base_model(config)
    on_hub = [match[1] for one in data or () if (match := _HUB_DATA.match(one["source"]))]
    front = ModelCardData(
        model_name=name,
        license=license,
        library_name="thinkvla",
        pipeline_tag="robotics",
        tags=["robotics", "vision-language-action", "3dthinkvla"],
        base_model=base if base is not None and _HUB_NAME.fullmatch(base) and not Path(base).exists() else None,
        datasets=list(dict.fromkeys(on_hub)) or None,
        eval_results=_front_results(evaluations),
    )
    sections = [
        f"# {name}",
        "A vision-language-action policy trained with thinkvla, an implementation of "
        "[3DThinkVLA](https://arxiv.org/abs/2606.04436): images and an instruction in, chunks of robot actions out.",
        _use(name),
        _results(evaluations),
        _training(config, command, steps, base, base_licence),
        _data(data or ()),
        _software(versions),
        f"## Method\n\n```json\n{json.dumps(dict(method), indent=2)}\n```",
        f"Fingerprint of the policy: `{fingerprint}`. Card written by thinkvla {__version__}.",
    ]
    return ModelCard(f"---\n{front.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def base_model(config: Mapping[str, Any] | None) -> str | None:
    """The model a run began with, by its configuration."""
    if config is None:
        return None
    name: str = config["start"] or config["backbone"]["name"]
    return name


def _use(name: str) -> str:
    return (
        "## Use\n\n```python\nfrom thinkvla import ThinkVLA\nfrom thinkvla.contract import Observation\n\n"
        f'policy = ThinkVLA.from_pretrained("{name}")  # this folder, or owner/name on the Hub\n'
        "print(policy.embodiment)  # cameras, action names, units and ranges\n"
        "[chunk] = policy.act([Observation({camera: image, ...}, instruction)])  # images: uint8 (H, W, 3)\n```"
    )


def _results(evaluations: Sequence[Evaluation]) -> str:
    if not evaluations:
        return "## Results\n\nNone were given."
    lines = ["| measured | on | right | 95 % interval (Wilson) |", "|---|---|---|---|"]
    lines += [
        f"| {one.measures} | {what} | {successes} of {tries} | {100 * low:.1f}–{100 * high:.1f} % |"
        for one in evaluations
        for what, successes, tries, low, high in one.rows
    ]
    options = "\n".join(f"- {one.measures}, {one.created}: `{json.dumps(dict(one.options))}`" for one in evaluations)
    return "## Results\n\n" + "\n".join(lines) + f"\n\nOptions of these evaluations:\n\n{options}"


def _front_results(evaluations: Sequence[Evaluation]) -> list[Any] | None:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="robotics" if one.measures.startswith("success") else "visual-question-answering",
            dataset_type="thinkvla",
            dataset_name=what,
            metric_type="success_rate" if one.measures.startswith("success") else "accuracy",
            metric_value=round(successes / tries, 4),
        )
        for one in evaluations
        for what, successes, tries, _, _ in one.rows
        if tries
    ] or None


def _training(
    config: Mapping[str, Any] | None,
    command: str | None,
    steps: int | None,
    base: str | None,
    base_licence: str | None,
) -> str:
    words = str(command).split()
    lines = [
        f"- Base model: {_shown(base) if base is not None else _UNKNOWN}; its licence: {base_licence or _UNKNOWN}",
        f"- Recipe: {words[2] if words[:2] == ['thinkvla', 'train'] else _UNKNOWN}",
        f"- Command: {f'`{command}`' if command is not None else _UNKNOWN}",
    ]
    if config is not None:
        done = f"{steps} of {config['steps']}" if steps is not None else str(config["steps"])
        lines.append(
            f"- Optimizer steps: {done}; micro-batch of one process: {config['batch_size']} demonstrations and "
            f"{config['question_batch_size']} questions; {config['accumulation']} of them a step; seed {config['seed']}"
        )
    whole = "Not recorded." if config is None else f"```json\n{json.dumps(_local_names(config), indent=2)}\n```"
    return (
        "## Training\n\n" + "\n".join(lines) + f"\n\n<details><summary>Configuration</summary>\n\n{whole}\n\n</details>"
    )


def _data(data: Sequence[Mapping[str, Any]]) -> str:
    if not data:
        return "## Data\n\nUnknown, and so are its licences."
    lines = ["| kind | data set | revision | fingerprint | size | licence |", "|---|---|---|---|---|---|"]
    for one in data:
        size = f"{one['episodes']} episodes, {one['frames']} frames" if "frames" in one else f"{one['rows']} rows"
        if one.get("left_out"):
            size += f" ({one['left_out']} left out)"
        found = (one["kind"], _shown(one["source"]), one["revision"] or "local", one["fingerprint"], size)
        lines.append("| " + " | ".join((*found, one["licence"] or _UNKNOWN)) + " |")
    note = "A licence is what the data set itself states; unknown where it states none."
    return "## Data\n\n" + "\n".join(lines) + f"\n\n{note}"


def _software(versions: Mapping[str, str] | None) -> str:
    if versions is None:
        return "## Software\n\nUnknown."
    return "## Software\n\n" + "\n".join(f"- {name}: {version}" for name, version in versions.items())


def _shown(address: str) -> str:
    """An address without the folders of the machine it was on."""
    return Path(address).name if Path(address).is_absolute() else address


def _local_names(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _local_names(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_local_names(value) for value in values]
    return _shown(values) if isinstance(values, str) else values
