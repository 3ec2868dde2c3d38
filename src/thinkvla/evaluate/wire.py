"""The contract in vla-eval's words: its observation messages, and the specifications both sides compare.

Message of an observation: ``images`` {camera: uint8 (H, W, 3)} and ``task_description`` (the instruction); only for an
embodiment that has them ``point_maps`` {camera: float32 (h, w, 3)}; only for an expert ``privileged`` {suite, task,
seed, snapshot}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from vla_eval.specs import LANGUAGE, DimSpec, check_specs

from thinkvla.contract import ContractError, Embodiment, Observation
from thinkvla.evaluate.policy import PrivilegedObservation

PRIVILEGED_FIELDS = ("suite", "task", "seed", "snapshot")


def action_spec(embodiment: Embodiment) -> dict[str, DimSpec]:
    """One component, ``action``; its format spells every dimension's name, unit and range, so any difference shows."""
    dimensions = zip(
        embodiment.action_names,
        embodiment.action_units,
        embodiment.action_low,
        embodiment.action_high,
        strict=True,
    )
    described = ", ".join(f"{name} ({unit}) {low:g}..{high:g}" for name, unit, low, high in dimensions)
    bounds = (min(embodiment.action_low), max(embodiment.action_high))
    return {"action": DimSpec("action", embodiment.action_dim, f"{described} at {embodiment.control_hz:g} Hz", bounds)}


def observation_spec(embodiment: Embodiment) -> dict[str, DimSpec]:
    """One component for each camera and each of its point maps, with sizes in the format, and the instruction."""
    height, width = embodiment.image_size
    images = {
        f"images/{camera}": DimSpec(f"images/{camera}", 0, f"rgb_hwc_uint8 {height}x{width}")
        for camera in embodiment.cameras
    }
    points: dict[str, DimSpec] = {}
    if embodiment.point_map_size is not None:
        rows, columns = embodiment.point_map_size
        for name in (f"point_maps/{camera}" for camera in embodiment.cameras):
            points[name] = DimSpec(name, 0, f"xyz_hwc_float32 {rows}x{columns}")
    return {**images, **points, "language": LANGUAGE}


def require_agreement(server: Any, benchmark: Any) -> None:
    """Raise ContractError naming every difference between a model server's and a benchmark's specifications.

    vla-eval itself only logs such differences and runs on.
    """
    differences = check_specs(
        server.get_action_spec(),
        benchmark.get_action_spec(),
        server.get_observation_spec(),
        benchmark.get_observation_spec(),
    )
    if differences:
        raise ContractError(
            "the policy and the benchmark disagree; evaluate it on the embodiment it was trained for: "
            + "; ".join(differences)
        )


def encode_observation(observation: Observation) -> dict[str, Any]:
    """The message of an observation; a PrivilegedObservation carries its ground truth along."""
    message: dict[str, Any] = {
        "images": dict(observation.images),
        "task_description": observation.instruction,
    }
    if observation.point_maps is not None:
        message["point_maps"] = dict(observation.point_maps)
    if isinstance(observation, PrivilegedObservation):
        message["privileged"] = {field: getattr(observation, field) for field in PRIVILEGED_FIELDS}
    return message


def decode_observation(message: Mapping[str, Any]) -> Observation:
    """The inverse of :func:`encode_observation`; raises ContractError for missing or malformed keys."""
    images = _entry(message, "images", Mapping)
    instruction = _entry(message, "task_description", str)
    maps = _entry(message, "point_maps", Mapping) if "point_maps" in message else None
    if "privileged" not in message:
        return Observation(images, instruction, point_maps=maps)
    truth = _entry(message, "privileged", Mapping)
    return PrivilegedObservation(
        images,
        instruction,
        suite=_entry(truth, "suite", str),
        task=_entry(truth, "task", str),
        seed=_entry(truth, "seed", int),
        snapshot=_entry(truth, "snapshot", np.ndarray),
        point_maps=maps,
    )


def _entry(message: Mapping[str, Any], key: str, kind: type) -> Any:
    if key not in message:
        raise ContractError(f"observation message: key '{key}' is missing (got {sorted(message)})")
    value = message[key]
    if not isinstance(value, kind):
        raise ContractError(f"observation message: '{key}' must be {kind.__name__}, got {type(value).__name__}")
    return value
