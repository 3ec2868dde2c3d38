"""Robots by name, or by a JSON file that says which kind it is and how to reach it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from thinkvla.contract import Embodiment
from thinkvla.robot.lerobot import LeRobotRobot, LeRobotSpec
from thinkvla.robot.protocol import Robot
from thinkvla.robot.realman import RealManRobot, RealManSpec
from thinkvla.robot.targets import Workspace

TABLETOP_ROBOT = "tabletop"
KINDS = ("lerobot", "realman")

Spec = TypeVar("Spec")


@dataclass(frozen=True)
class TabletopScene:
    """An episode of the tabletop world.

    Attributes:
        suite: name of the suite.
        task: name of the task.
        seed: of the scene.
    """

    suite: str = "object"
    task: str = "red_cube_on_blue_plate"
    seed: int = 1_004_000


def open_robot(name: str, scene: TabletopScene, embodiment: Embodiment) -> tuple[Robot, str | None]:
    """A connected robot, and its own instruction if it has one.

    Args:
        name: ``tabletop`` or a JSON file.
        scene: of the tabletop robot.
        embodiment: of the policy, which the robot of a JSON file takes as its contract.

    Raises:
        ValueError: no such robot, or the file is not as it should be.
        RuntimeError: the robot is not there.
    """
    if name == TABLETOP_ROBOT:
        from thinkvla.robot.tabletop import TabletopRobot  # needs MuJoCo

        tabletop = TabletopRobot(scene.suite, scene.task, scene.seed)
        return tabletop, tabletop.instruction
    kind, values = read_description(Path(name))
    if kind == "lerobot":
        return LeRobotRobot.connect(_spec(LeRobotSpec, values, name), embodiment), None
    return RealManRobot.connect(_spec(RealManSpec, values, name), embodiment), None


def read_description(file: Path) -> tuple[str, dict[str, Any]]:
    """Kind and fields of a robot; raises ValueError if the file is not as it should be."""
    if not file.is_file():
        raise ValueError(f"robot '{file}' is neither '{TABLETOP_ROBOT}' nor a JSON file; see docs/robots.md")
    try:
        values = json.loads(file.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not valid JSON ({error})") from error
    if not isinstance(values, dict) or values.get("kind") not in KINDS:
        raise ValueError(f"{file}: expected an object whose 'kind' is one of {list(KINDS)}")
    return values.pop("kind"), values


def _spec(of: type[Spec], values: Mapping[str, Any], name: str) -> Spec:
    fields = {field.name: field for field in dataclasses.fields(of)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    missing = sorted(
        field.name
        for field in fields.values()
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    )
    if unknown or missing:
        raise ValueError(f"{name}: unknown keys {unknown}, missing keys {missing}; there are {sorted(fields)}")
    made = dict(values)
    if "workspace" in made and made["workspace"] is not None:
        made["workspace"] = Workspace.from_dict(made["workspace"], name)
    try:
        return of(**made)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
