"""What a published data set's images and actions mean: embodiment specifications, ready-made or from a JSON file.

A data set that others publish has no ``meta/embodiment.json``; its user names one of :data:`SPECIFICATIONS` or a JSON
file with the fields of :class:`EmbodimentSpec`. Names of GR00T's ``meta/modality.json`` may stand for its keys.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from thinkvla.contract import Embodiment, Normalization, Rotation


@dataclass(frozen=True)
class Gripper:
    """How a data set writes its gripper; it is read as 1 open, 0 closed, whatever the data set's sign.

    Attributes:
        dimension: of the action.
        open: value in the data when open.
        closed: value in the data when closed.
    """

    dimension: int
    open: float
    closed: float


@dataclass(frozen=True)
class EmbodimentSpec:
    """How to read a LeRobot data set as episodes of one embodiment.

    Attributes:
        name: of the embodiment.
        cameras: camera → its key in the data, in the order of the views. A key is a feature
            (``observation.images.image``) or one of modality.json (``video.primary_image``).
        image_size: (height, width) of training; frames of another size are resized when decoded.
        action_names: one per action dimension.
        action_units: what a value of 1 means, per dimension.
        action_low: smallest value per dimension.
        action_high: largest value per dimension.
        action_keys: where the action stands: a feature (``action``), a part of one (``action[0:6]``) or a key of
            modality.json (``action.x``), one after the other.
        rotation: form of the rotation in the action.
        gripper: how the data set writes the gripper; None leaves it as it is.
        normalization: bounds of the action normalization, unless the run says otherwise.
        raw: action dimensions that are not normalized.
        control_hz: of the robot; None means the data set's frames per second.
    """

    name: str
    cameras: Mapping[str, str]
    image_size: tuple[int, int]
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_keys: tuple[str, ...] = ("action",)
    rotation: Rotation | None = None
    gripper: Gripper | None = None
    normalization: Normalization = "min_max"
    raw: tuple[int, ...] = (6,)
    control_hz: float | None = None

    def __post_init__(self) -> None:
        dimensions = range(len(self.action_names))
        if self.normalization not in get_args(Normalization):
            raise ValueError(
                f"embodiment '{self.name}': normalization is '{self.normalization}'; expected one of "
                f"{list(get_args(Normalization))}"
            )
        for field, used in (("raw", self.raw), ("gripper", (self.gripper.dimension,) if self.gripper else ())):
            wrong = [dimension for dimension in used if dimension not in dimensions]
            if wrong:
                raise ValueError(f"embodiment '{self.name}': {field} names dimension {wrong[0]} of {len(dimensions)}")
        if not self.cameras:
            raise ValueError(f"embodiment '{self.name}': cameras is empty; name at least one view and its key")
        if self.gripper is not None and self.gripper.open == self.gripper.closed:
            raise ValueError(f"embodiment '{self.name}': gripper.open and gripper.closed are the same value")

    def embodiment(self, fps: float) -> Embodiment:
        """The embodiment of a data set recorded at ``fps`` frames per second."""
        return Embodiment(
            self.name,
            tuple(self.cameras),
            self.image_size,
            float(fps if self.control_hz is None else self.control_hz),
            self.action_names,
            self.action_units,
            self.action_low,
            self.action_high,
            self.rotation,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form, the inverse of :meth:`from_dict`."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @staticmethod
    def from_dict(values: Mapping[str, Any], source: str) -> EmbodimentSpec:
        """Rebuild from :meth:`to_dict`; raises ValueError naming ``source`` and a key that is missing or unknown."""
        known = {field.name for field in fields(EmbodimentSpec)}
        needed = {field.name for field in fields(EmbodimentSpec) if field.default is MISSING}
        missing, unknown = sorted(needed - set(values)), sorted(set(values) - known)
        if missing or unknown:
            raise ValueError(f"{source}: keys {missing} are missing and {unknown} unknown; expected {sorted(known)}")
        found: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        try:
            if found.get("gripper") is not None:
                found["gripper"] = Gripper(**found["gripper"])
            return EmbodimentSpec(**found)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{source}: a value is not of the form that docs/data.md shows ({error})") from error


@dataclass(frozen=True)
class ActionPart:
    """Dimensions ``start`` to ``end`` (None: to the last) of the feature ``key``."""

    key: str
    start: int = 0
    end: int | None = None


def find_spec(source: str) -> EmbodimentSpec:
    """A ready-made specification by name, or one from a JSON file; raises ValueError if there is neither."""
    if source in SPECIFICATIONS:
        return SPECIFICATIONS[source]
    path = Path(source)
    if path.suffix != ".json" or not path.is_file():
        near = difflib.get_close_matches(source, SPECIFICATIONS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {sorted(SPECIFICATIONS)}"
        raise ValueError(f"embodiment '{source}' is neither a ready-made one nor a JSON file; {hint}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); see docs/data.md for its fields") from error
    return EmbodimentSpec.from_dict(values, str(path))


def camera_keys(spec: EmbodimentSpec, features: Mapping[str, Any], modality: Mapping[str, Any]) -> dict[str, str]:
    """Camera → feature of a data set; raises ValueError if one is missing or holds no images."""
    videos = modality.get("video", {})
    found = {}
    for camera, name in spec.cameras.items():
        key = name
        if name not in features and name.removeprefix("video.") in videos:
            short = name.removeprefix("video.")
            key = videos[short].get("original_key", f"observation.images.{short}")
        if features.get(key, {}).get("dtype") not in ("video", "image"):
            has = [k for k, feature in features.items() if feature["dtype"] in ("video", "image")]
            raise ValueError(
                f"camera '{camera}' of embodiment '{spec.name}' is missing: no images are called '{name}'; the data "
                f"set has {sorted(has)}" + (f" and {sorted(f'video.{k}' for k in videos)}" if videos else "")
            )
        found[camera] = key
    return found


def action_parts(
    spec: EmbodimentSpec, features: Mapping[str, Any], modality: Mapping[str, Any]
) -> tuple[ActionPart, ...]:
    """Where the action stands in a data set; raises ValueError for a key that is neither a feature nor in modality."""
    named = modality.get("action", {})
    parts = []
    for name in spec.action_keys:
        sliced = re.fullmatch(r"(.+)\[(\d+):(\d+)\]", name)
        short = name.removeprefix("action.")
        if name in features:
            part = ActionPart(name)
        elif sliced is not None:
            part = ActionPart(sliced[1], int(sliced[2]), int(sliced[3]))
        elif short in named:
            entry = named[short]
            part = ActionPart(entry.get("original_key", "action"), int(entry["start"]), int(entry["end"]))
        else:
            part = ActionPart(name)
        if part.key not in features:
            has = [k for k, feature in features.items() if feature["dtype"] not in ("video", "image", "string")]
            raise ValueError(
                f"action key '{name}' of embodiment '{spec.name}' is missing; the data set has {sorted(has)}"
                + (f" and {sorted(f'action.{k}' for k in named)}" if named else "")
            )
        parts.append(part)
    return tuple(parts)


_LIBERO = EmbodimentSpec(
    name="libero",
    cameras={"front": "observation.images.image", "wrist": "observation.images.wrist_image"},
    image_size=(224, 224),
    action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
    action_units=("0.05 m",) * 3 + ("0.5 rad",) * 3 + ("1 open, 0 closed",),
    action_low=(-1.0,) * 6 + (0.0,),
    action_high=(1.0,) * 7,
    rotation="axis_angle",
    gripper=Gripper(dimension=6, open=1.0, closed=0.0),
    control_hz=20.0,
)

SPECIFICATIONS: dict[str, EmbodimentSpec] = {
    # LIBERO's four suites as IPEC-COMMUNITY/libero_*_no_noops_1.0.0_lerobot publish them.
    "libero": _LIBERO,
    # The same episodes as lerobot/libero publishes them: another wrist key, the simulator's gripper, 10 fps.
    "libero_lerobot": replace(
        _LIBERO,
        cameras={"front": "observation.images.image", "wrist": "observation.images.image2"},
        gripper=Gripper(dimension=6, open=-1.0, closed=1.0),
    ),
    # Bridge V2 on a WidowX as IPEC-COMMUNITY/bridge_orig_lerobot publishes it.
    "bridge": EmbodimentSpec(
        name="bridge",
        cameras={"front": "observation.images.image_0"},
        image_size=(224, 224),
        action_names=("x", "y", "z", "roll", "pitch", "yaw", "gripper"),
        action_units=("1 m",) * 3 + ("1 rad",) * 3 + ("1 open, 0 closed",),
        action_low=(-0.5,) * 3 + (-2 * math.pi,) * 3 + (0.0,),
        action_high=(0.5,) * 3 + (2 * math.pi,) * 3 + (1.0,),
        rotation="roll_pitch_yaw",
        gripper=Gripper(dimension=6, open=1.0, closed=0.0),
        normalization="quantile",
        control_hz=5.0,
    ),
}
