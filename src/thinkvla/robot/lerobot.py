"""Any robot of LeRobot (0.4 or newer): connect, get_observation, send_action, disconnect; mapped by configuration.

LeRobot robots take absolute values by name (``shoulder_pan.pos``). Each dimension of the policy's action is written to
one of them: as it is, or as an increment to where that value stands, scaled, shifted and held within limits.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkvla.contract import Actions, Embodiment
from thinkvla.robot.camera import fitted
from thinkvla.robot.protocol import Command, Sight

_FRESH_S = 0.5


@dataclass(frozen=True)
class Dimension:
    """Where one dimension of the action goes: value = scale · action + offset, kept within [low, high].

    Attributes:
        key: of the robot's action.
        low: smallest value sent, in the robot's unit.
        high: largest value sent.
        scale: robot's units per unit of the action.
        offset: robot's value for an action of 0; of an increment, 0.
        relative: the action is an increment to the value commanded last, at first to the measured one.
        lead: of an increment: how far the command may be ahead of the measured value.
    """

    key: str
    low: float
    high: float
    scale: float = 1.0
    offset: float = 0.0
    relative: bool = False
    lead: float | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"dimension '{self.key}': low {self.low} must be below high {self.high}")
        if self.relative != (self.lead is not None):
            raise ValueError(
                f"dimension '{self.key}': an increment (relative) needs lead, and only an increment has it"
            )


@dataclass(frozen=True)
class LeRobotSpec:
    """How to reach a robot and what its values mean.

    Attributes:
        modules: modules that register what the configuration names, e.g. ``lerobot.robots.so_follower`` and
            ``lerobot.cameras.opencv``.
        robot: its configuration: ``type`` and the fields of that configuration class.
        cameras: camera of the embodiment → key of its picture in the robot's observation.
        dimensions: name of an action dimension → where it goes; all of the embodiment's.
    """

    modules: Sequence[str]
    robot: Mapping[str, Any]
    cameras: Mapping[str, str]
    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        made = {n: Dimension(**d) if isinstance(d, dict) else d for n, d in self.dimensions.items()}
        object.__setattr__(self, "dimensions", made)


class LeRobotRobot:
    """A connected LeRobot robot.

    Args:
        robot: of LeRobot, connected.
        spec: what its values mean.
        embodiment: the policy's.

    Raises:
        ValueError: a camera or a dimension is missing, or the robot has no such key.
    """

    def __init__(self, robot: Any, spec: LeRobotSpec, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self._robot, self._cameras = robot, dict(spec.cameras)
        for what, wanted, given in (
            ("cameras", embodiment.cameras, spec.cameras),
            ("dimensions", embodiment.action_names, spec.dimensions),
        ):
            if set(wanted) != set(given):
                raise ValueError(f"robot: {what} are {sorted(given)}; the policy needs {list(wanted)}")
        self._dimensions = [spec.dimensions[name] for name in embodiment.action_names]
        for what, keys, there in (
            ("observation", [*spec.cameras.values(), *(d.key for d in self._dimensions)], robot.observation_features),
            ("action", [d.key for d in self._dimensions], robot.action_features),
        ):
            unknown = sorted(set(keys) - set(there))
            if unknown:
                raise ValueError(f"robot: its {what} has no {unknown}; it has {sorted(there)}")
        if set(robot.action_features) - {d.key for d in self._dimensions}:
            rest = sorted(set(robot.action_features) - {d.key for d in self._dimensions})
            raise ValueError(f"robot: nothing is sent to {rest}; map every value of the robot's action")
        self._seen: Mapping[str, Any] | None = None
        self._seen_at = 0.0
        self._sent: dict[str, float] = {}
        self._line = threading.Lock()  # LeRobot's buses take one call at a time

    @classmethod
    def connect(cls, spec: LeRobotSpec, embodiment: Embodiment) -> LeRobotRobot:
        """Make the robot from its configuration and connect, without calibrating.

        Raises:
            ValueError: no such robot, or its configuration is not right.
        """
        import draccus
        from lerobot.robots import RobotConfig, make_robot_from_config

        try:
            for module in spec.modules:
                importlib.import_module(module)
            config = draccus.decode(RobotConfig, dict(spec.robot))
        except (ModuleNotFoundError, draccus.utils.DecodingError) as error:
            raise ValueError(f"robot {spec.robot.get('type')!r} of {list(spec.modules)}: {error}") from error
        robot = make_robot_from_config(config)
        robot.connect(calibrate=False)
        if not robot.is_calibrated:
            robot.disconnect()
            raise ValueError("the robot is not calibrated; calibrate it with LeRobot first: lerobot-calibrate")
        try:
            return cls(robot, spec, embodiment)
        except ValueError:
            robot.disconnect()
            raise

    def observe(self) -> Sight:
        """The robot's cameras, cut and resized to the embodiment's size."""
        taken_at = time.monotonic()
        with self._line:
            seen = self._robot.get_observation()
        self._seen, self._seen_at = seen, taken_at
        images = {
            ours: fitted(np.asarray(seen[key]), self.embodiment.image_size) for ours, key in self._cameras.items()
        }
        return Sight(images, taken_at)

    def command(self, action: Actions) -> Command:
        """The robot's action by name, in its own units."""
        if self._seen is None:
            raise RuntimeError("observe() comes first")
        command = {}
        for dimension, value in zip(self._dimensions, action, strict=True):
            wanted = dimension.scale * float(value) + dimension.offset
            if dimension.lead is not None:
                measured = float(self._seen[dimension.key])
                wanted += self._sent.get(dimension.key, measured)
                wanted = min(max(wanted, measured - dimension.lead), measured + dimension.lead)
            command[dimension.key] = min(max(wanted, dimension.low), dimension.high)
        return command

    def act(self, command: Command) -> None:
        """Send it."""
        with self._line:
            self._robot.send_action(dict(command))
        self._sent = dict(command)

    def stop(self) -> None:
        """Send the robot to where it was seen last, its gripper excepted: position servos then hold.

        Where it has not been seen for a while that could be a jump: nothing is sent then, and it rests at its last
        target. Raises RuntimeError if a call under way does not end.
        """
        if self._seen is None or not self._sent or time.monotonic() - self._seen_at > _FRESH_S:
            return
        if not self._line.acquire(timeout=_FRESH_S):
            raise RuntimeError("the robot's bus is busy; it moves on to its last target")
        try:
            here = dict(self._sent)
            for name, dimension in zip(self.embodiment.action_names, self._dimensions, strict=True):
                if "gripper" not in name:
                    here[dimension.key] = float(self._seen[dimension.key])
            self._robot.send_action(here)
            self._sent = here
        finally:
            self._line.release()

    def close(self) -> None:
        """Disconnect, which on most robots lets go of the motors."""
        self._robot.disconnect()
