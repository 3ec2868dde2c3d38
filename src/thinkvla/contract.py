"""What crosses a border: observations in, action chunks out, and the embodiment that gives them a meaning.

Every simulator, data set, policy and server meets here. A value is checked where it crosses, and an error names
the field, what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Actions = NDArray[np.float32]
Points = NDArray[np.float32]
Normalization = Literal["min_max", "quantile", "range"]
Rotation = Literal["axis_angle", "roll_pitch_yaw", "quaternion", "rotation_6d"]


class ContractError(ValueError):
    """A value does not fit the contract; the message names the field and what was expected."""


@dataclass(frozen=True)
class Embodiment:
    """What a robot (or simulator) shows and accepts.

    Attributes:
        name: identifier, e.g. ``tabletop``.
        cameras: camera names; their order is the order of the views.
        image_size: (height, width) of every camera image, pixels.
        control_hz: control steps per second.
        action_names: one name per action dimension.
        action_units: what a value of 1 means, per dimension, e.g. ``0.05 m``.
        action_low: smallest value per dimension.
        action_high: largest value per dimension.
        rotation: form of the rotation in the action; None where it is not said.
        point_map_size: (rows, columns) of every camera's map of true 3D points, where observations bring them; None
            for images alone.
    """

    name: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    control_hz: float
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    rotation: Rotation | None = None
    point_map_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("action_units", "action_low", "action_high"):
            if len(getattr(self, name)) != self.action_dim:
                raise ContractError(
                    f"embodiment '{self.name}': {name} has {len(getattr(self, name))} entries, action_names "
                    f"{self.action_dim}; give one per action dimension"
                )
        if self.rotation not in (None, *get_args(Rotation)):
            raise ContractError(
                f"embodiment '{self.name}': rotation is '{self.rotation}'; expected one of {list(get_args(Rotation))}"
            )

    @property
    def action_dim(self) -> int:
        """Number of action dimensions."""
        return len(self.action_names)

    @property
    def action_format(self) -> str:
        """Every dimension's name, unit and range, and the control rate, in one line: any difference shows."""
        dimensions = zip(self.action_names, self.action_units, self.action_low, self.action_high, strict=True)
        described = ", ".join(f"{name} ({unit}) {low:g}..{high:g}" for name, unit, low, high in dimensions)
        return f"{described} at {self.control_hz:g} Hz"

    @property
    def image_format(self) -> str:
        """Layout and size of every camera image in one line."""
        return f"rgb_hwc_uint8 {self.image_size[0]}x{self.image_size[1]}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form, the inverse of :meth:`from_dict`."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        return {key: value for key, value in values.items() if value is not None}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Embodiment:
        """Rebuild from :meth:`to_dict`; raises ContractError for missing or unknown keys."""
        expected = set(Embodiment.__dataclass_fields__)
        wrong = sorted((set(values) | {"rotation", "point_map_size"}) ^ expected)
        if wrong:
            raise ContractError(f"embodiment: keys {wrong} are missing or unknown; expected {sorted(expected)}")
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return Embodiment(**fields)


@dataclass(frozen=True)
class Observation:
    """What the robot sees at one control step, and what it was asked.

    Attributes:
        images: camera name → uint8 (H, W, 3) RGB.
        instruction: the task in words.
        point_maps: camera → float32 (h, w, 3), the true 3D point behind each block of pixels, metres in the robot's
            base frame; None unless the embodiment has them.
    """

    images: Mapping[str, Image]
    instruction: str
    point_maps: Mapping[str, Points] | None = field(default=None, kw_only=True)

    def check(self, embodiment: Embodiment) -> None:
        """Raise ContractError unless every camera is there with the right shape and dtype, and there is a task."""
        for camera in embodiment.cameras:
            if camera not in self.images:
                raise ContractError(
                    f"observation.images: camera '{camera}' is missing (got {sorted(self.images)}); "
                    f"embodiment '{embodiment.name}' needs {list(embodiment.cameras)}"
                )
            check_image(self.images[camera], embodiment.image_size, f"observation.images['{camera}']")
        unknown = sorted(set(self.images) - set(embodiment.cameras))
        if unknown:
            raise ContractError(
                f"observation.images: unknown cameras {unknown}; embodiment '{embodiment.name}' has "
                f"{list(embodiment.cameras)}. Send only those."
            )
        if not self.instruction.strip():
            raise ContractError("observation.instruction is empty; say what the robot should do")
        _check_point_maps(self.point_maps, embodiment)


@dataclass(frozen=True)
class ActionChunk:
    """The next C actions, one per control step.

    Attributes:
        actions: float32 (C, action_dim), each value inside the embodiment's range.
    """

    actions: Actions

    def check(self, embodiment: Embodiment) -> None:
        """Raise ContractError unless the chunk is (C, action_dim), finite and inside the embodiment's range."""
        check_actions(self.actions, embodiment, "action chunk")


class Policy(Protocol):
    """Anything that turns observations into action chunks."""

    @property
    def embodiment(self) -> Embodiment:
        """What it sees and how it acts."""

    @property
    def chunk(self) -> int:
        """Actions in each chunk it returns."""

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk for each observation, in the same order."""


def check_image(image: Any, image_size: tuple[int, int], field: str) -> None:
    """Raise ContractError unless ``image`` is a uint8 (H, W, 3) array of the given size; ``field`` names it."""
    expected = (*image_size, 3)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        found = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ContractError(f"{field}: expected a uint8 array in 0..255, got {found}; convert it before sending")
    if image.shape != expected:
        raise ContractError(f"{field}: expected shape {expected} (height, width, RGB), got {image.shape}; resize it")


def _check_point_maps(maps: Mapping[str, Any] | None, embodiment: Embodiment) -> None:
    """Raise ContractError unless there is a finite map for each camera, or none where the embodiment has none."""
    if embodiment.point_map_size is None:
        if maps is not None:
            raise ContractError(f"observation.point_maps: embodiment '{embodiment.name}' has none; leave them out")
        return
    if maps is None or set(maps) != set(embodiment.cameras):
        raise ContractError(
            f"observation.point_maps: expected one for each of {list(embodiment.cameras)}, which embodiment "
            f"'{embodiment.name}' needs, got {None if maps is None else sorted(maps)}"
        )
    expected = (*embodiment.point_map_size, 3)
    for camera, points in maps.items():
        if not isinstance(points, np.ndarray) or points.dtype != np.float32 or points.shape != expected:
            found = f"{points.dtype} {points.shape}" if isinstance(points, np.ndarray) else type(points).__name__
            raise ContractError(
                f"observation.point_maps['{camera}']: expected a float32 array {expected} (rows, columns, xyz), "
                f"got {found}"
            )
        if not np.isfinite(points).all():
            raise ContractError(f"observation.point_maps['{camera}']: a point is not finite; send metres")


def check_actions(actions: Any, embodiment: Embodiment, field: str) -> None:
    """Raise ContractError unless ``actions`` is (N, action_dim), finite and in range; ``field`` names it."""
    values = np.asarray(actions)
    if values.ndim != 2 or values.shape[1] != embodiment.action_dim:
        raise ContractError(
            f"{field}: expected shape (steps, {embodiment.action_dim}) for embodiment '{embodiment.name}', "
            f"got {values.shape}"
        )
    finite = np.isfinite(values)
    if not finite.all():
        step, dim = (int(i) for i in np.argwhere(~finite)[0])
        raise ContractError(f"{field}: step {step}, '{embodiment.action_names[dim]}' is {values[step, dim]}")
    low, high = np.asarray(embodiment.action_low), np.asarray(embodiment.action_high)
    outside = (values < low - 1e-6) | (values > high + 1e-6)
    if outside.any():
        step, dim = (int(i) for i in np.argwhere(outside)[0])
        raise ContractError(
            f"{field}: step {step}, '{embodiment.action_names[dim]}' is {values[step, dim]:.4f}, outside "
            f"[{embodiment.action_low[dim]}, {embodiment.action_high[dim]}] ({embodiment.action_units[dim]} per unit)"
        )
