"""The contract in vla-eval's words: its observation messages, and the specifications both sides compare.

Message of an observation: ``images`` {camera: uint8 (H, W, 3)} and ``task_description`` (the instruction); for an
embodiment that has them ``point_maps`` {camera: float32 (h, w, 3)}; for an expert ``privileged``: what the simulator
tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vla_eval.specs import LANGUAGE, DimSpec, check_specs

from thinkvla.contract import ContractError, Embodiment, Observation
from thinkvla.evaluate.privileged import PrivilegedObservation, entry


def action_spec(embodiment: Embodiment) -> dict[str, DimSpec]:
    """One component, ``action``; its format spells every dimension's name, unit and range, so any difference shows."""
    bounds = (min(embodiment.action_low), max(embodiment.action_high))
    return {"action": DimSpec("action", embodiment.action_dim, embodiment.action_format, bounds)}


def observation_spec(embodiment: Embodiment) -> dict[str, DimSpec]:
    """One component for each camera and each of its point maps, with sizes in the format, and the instruction."""
    images = {
        f"images/{camera}": DimSpec(f"images/{camera}", 0, embodiment.image_format) for camera in embodiment.cameras
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
        message["privileged"] = dict(observation.truth)
    return message


def decode_observation(message: Mapping[str, Any]) -> Observation:
    """The inverse of :func:`encode_observation`; raises ContractError for missing or malformed keys."""
    where = "observation message"
    images = entry(message, "images", Mapping, where)
    instruction = entry(message, "task_description", str, where)
    maps = entry(message, "point_maps", Mapping, where) if "point_maps" in message else None
    if "privileged" not in message:
        return Observation(images, instruction, point_maps=maps)
    return PrivilegedObservation(images, instruction, entry(message, "privileged", Mapping, where), point_maps=maps)
