"""From the increments of the action contract to poses a robot can be sent to, inside a workspace.

An action's first three values move the hand along the axes of the robot base and the next three turn it about them
(axis times angle); the embodiment's units say how far. Increments add to the pose commanded last, not to the measured
one, or servo lag would eat them; but the command may not run away from the hand when something holds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Actions, Embodiment
from thinkvla.robot.rotations import from_vector, to_vector

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Workspace:
    """Where the hand may be, in the robot's base frame.

    Attributes:
        low: (x, y, z) smallest, metres.
        high: (x, y, z) largest, metres.
        step_m: metres the commanded position may move in one control step.
        step_rad: radians it may turn in one.
        lead_m: metres by which the command may be ahead of the measured hand.
        lead_rad: radians, likewise.
        turn_rad: radians by which the hand may be turned away from how it was when the run began.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    step_m: float = 0.05
    step_rad: float = 0.25
    lead_m: float = 0.05
    lead_rad: float = 0.3
    turn_rad: float = 1.0

    def __post_init__(self) -> None:
        if (
            len(self.low) != 3
            or len(self.high) != 3
            or not all(a < b for a, b in zip(self.low, self.high, strict=True))
        ):
            raise ValueError(f"workspace: low {self.low} must lie below high {self.high}, each (x, y, z) in metres")
        for name in ("step_m", "step_rad", "lead_m", "lead_rad", "turn_rad"):
            if not getattr(self, name) > 0:
                raise ValueError(f"workspace.{name} is {getattr(self, name)}; it must be above 0")

    @staticmethod
    def from_dict(values: Mapping[str, Any], where: str) -> Workspace:
        """From JSON; raises ValueError naming ``where`` for missing or unknown keys."""
        known = {field.name for field in fields(Workspace)}
        if not {"low", "high"} <= set(values) <= known:
            raise ValueError(
                f"{where}: workspace has keys {sorted(values)}; it needs low and high, and may have {known}"
            )
        made: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return Workspace(**made)


@dataclass(frozen=True)
class Pose:
    """A hand pose in the base frame: position (3,) in metres, rotation (3, 3)."""

    position: Vector
    rotation: Vector


class PoseTargets:
    """Turns actions into pose targets.

    Args:
        embodiment: its first six dimensions must be translations in metres and rotations in radians.
        workspace: limits.

    Raises:
        ValueError: the embodiment's actions are no such increments.
    """

    def __init__(self, embodiment: Embodiment, workspace: Workspace) -> None:
        if embodiment.rotation not in (None, "axis_angle"):
            raise ValueError(
                f"embodiment '{embodiment.name}': rotation is '{embodiment.rotation}'; pose targets need 'axis_angle'"
            )
        self._scale = np.array(
            [_scale(embodiment, dim, unit) for dim, unit in enumerate(("m", "m", "m", "rad", "rad", "rad"))]
        )
        self._workspace = workspace
        self._target: Pose | None = None
        self._start: Vector | None = None

    def next(self, measured: Pose, action: Actions) -> Pose:
        """Where to go for an action (A,) with the hand at ``measured``; changes nothing until :meth:`commit`.

        Raises:
            ValueError: the hand is outside the workspace: move it in first.
        """
        space = self._workspace
        low, high = np.asarray(space.low), np.asarray(space.high)
        if (measured.position < low - space.lead_m).any() or (measured.position > high + space.lead_m).any():
            raise ValueError(
                f"the hand is at {measured.position.round(3).tolist()} m, outside the workspace {space.low} to "
                f"{space.high}; move it inside by hand or correct the workspace"
            )
        last = measured if self._target is None else self._target
        start = measured.rotation if self._start is None else self._start
        move, turn = np.split(self._scale * np.asarray(action[:6], np.float64), 2)
        position = last.position + _shorten(move, space.step_m)
        position = measured.position + _shorten(position - measured.position, space.lead_m)
        rotation = from_vector(_shorten(turn, space.step_rad)) @ last.rotation
        ahead = _shorten(to_vector(rotation @ measured.rotation.T), space.lead_rad)
        away = _shorten(to_vector(from_vector(ahead) @ measured.rotation @ start.T), space.turn_rad)
        return Pose(np.clip(position, low, high), from_vector(away) @ start)

    def commit(self, measured: Pose, target: Pose) -> None:
        """The target was sent, with the hand at ``measured``."""
        if self._start is None:
            self._start = measured.rotation
        self._target = target


def _scale(embodiment: Embodiment, dim: int, unit: str) -> float:
    """What a value of 1 means, from ``0.05 m``."""
    units = embodiment.action_units[dim] if dim < embodiment.action_dim else ""
    found = re.fullmatch(rf"([0-9.]+) ?{unit}", units)
    if found is None:
        raise ValueError(
            f"embodiment '{embodiment.name}': action_units[{dim}] is '{units}'; pose targets need increments as "
            f"'0.05 {unit}'"
        )
    return float(found[1])


def _shorten(vector: Vector, longest: float) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
