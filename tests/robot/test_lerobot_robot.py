"""LeRobot robots, by a small object of the same interface."""

from __future__ import annotations

import sys
import threading
import types
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from thinkvla.contract import Embodiment
from thinkvla.robot.camera import fitted
from thinkvla.robot.lerobot import Dimension, LeRobotRobot, LeRobotSpec
from thinkvla.robot.robots import TabletopScene, open_robot

ARM = Embodiment(
    name="so101",
    cameras=("front",),
    image_size=(48, 48),
    control_hz=30.0,
    action_names=("pan", "lift", "gripper"),
    action_units=("1 degree", "0.1 of the range", "open 1, closed 0"),
    action_low=(-10.0, -1.0, 0.0),
    action_high=(10.0, 1.0, 1.0),
)
SPEC = LeRobotSpec(
    modules=["lerobot.robots.so_follower"],
    robot={"type": "so101_follower", "port": "/dev/ttyACM0"},
    cameras={"front": "top"},
    dimensions={
        "pan": Dimension("shoulder_pan.pos", -90, 90, relative=True, lead=8),
        "lift": Dimension("shoulder_lift.pos", -50, 50, scale=100, offset=5),
        "gripper": Dimension("gripper.pos", 0, 100, scale=100),
    },
)


class FakeArm:
    """What LeRobot 0.4's robots have."""

    observation_features: dict[str, Any] = dict.fromkeys(
        ("shoulder_pan.pos", "shoulder_lift.pos", "gripper.pos"), float
    ) | {"top": (60, 80, 3)}
    action_features = dict.fromkeys(("shoulder_pan.pos", "shoulder_lift.pos", "gripper.pos"), float)
    is_calibrated = True

    def __init__(self) -> None:
        self.sent: list[dict[str, float]] = []
        self.at = {"shoulder_pan.pos": 20.0, "shoulder_lift.pos": 0.0, "gripper.pos": 50.0}
        self.connected: bool | None = None

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate
        self.connected = True

    def get_observation(self) -> dict[str, Any]:
        return {**self.at, "top": np.full((60, 80, 3), 7, np.uint8)}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self.sent.append(action)
        return action

    def disconnect(self) -> None:
        self.connected = False


def action(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_values_are_scaled_shifted_added_and_limited() -> None:
    arm = FakeArm()
    robot = LeRobotRobot(arm, SPEC, ARM)
    with pytest.raises(RuntimeError, match="observe"):
        robot.command(action(0, 0, 0))
    assert robot.observe().images["front"].shape == (48, 48, 3)
    command = robot.command(action(5, 0.2, 0.5))
    assert command == pytest.approx({"shoulder_pan.pos": 25, "shoulder_lift.pos": 25, "gripper.pos": 50})
    assert arm.sent == []
    robot.act(command)
    assert robot.command(action(2, 1, 1)) == pytest.approx(
        {"shoulder_pan.pos": 27, "shoulder_lift.pos": 50, "gripper.pos": 100}
    ), "increments add to what was sent; absolute values end at their limits"
    assert robot.command(action(10, 0, 0))["shoulder_pan.pos"] == 28, "8 ahead of where the arm is, no more"


def test_stop_holds_the_arm_where_it_was_seen_and_keeps_the_grip(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = FakeArm()
    robot = LeRobotRobot(arm, SPEC, ARM)
    robot.stop()
    assert arm.sent == [], "it has not moved yet"
    robot.observe()
    robot.act(robot.command(action(5, 0.2, 0.9)))
    robot.stop()
    assert arm.sent[-1] == pytest.approx({"shoulder_pan.pos": 20, "shoulder_lift.pos": 0, "gripper.pos": 90})
    monkeypatch.setattr("thinkvla.robot.lerobot._FRESH_S", 0.0)
    robot.stop()
    assert len(arm.sent) == 2, "where it was long ago may be far away by now"


def test_stop_does_not_wait_for_a_bus_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = FakeArm()
    robot = LeRobotRobot(arm, SPEC, ARM)
    robot.observe()
    robot.act(robot.command(action(0, 0, 0)))
    entered, leave = threading.Event(), threading.Event()

    def hang() -> dict[str, Any]:
        entered.set()
        leave.wait()
        return FakeArm.get_observation(arm)

    monkeypatch.setattr(arm, "get_observation", hang)
    reader = threading.Thread(target=robot.observe)
    reader.start()
    entered.wait()
    robot._seen_at += 1000  # fresh, however slow this machine is
    with pytest.raises(RuntimeError, match="bus is busy"):
        robot.stop()
    leave.set()
    reader.join()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cameras": {"wrist": "top"}}, r"cameras are \['wrist'\]; the policy needs \['front'\]"),
        ({"dimensions": {"pan": SPEC.dimensions["pan"]}}, r"dimensions are \['pan'\]; the policy needs"),
        ({"cameras": {"front": "side"}}, r"its observation has no \['side'\]; it has \['gripper.pos'"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LeRobotRobot(FakeArm(), replace(SPEC, **change), ARM)


def test_every_value_of_the_robot_must_be_mapped() -> None:
    arm = FakeArm()
    arm.action_features = {**FakeArm.action_features, "elbow_flex.pos": float}
    with pytest.raises(ValueError, match=r"nothing is sent to \['elbow_flex.pos'\]"):
        LeRobotRobot(arm, SPEC, ARM)
    with pytest.raises(ValueError, match="low 5 must be below high 5"):
        Dimension("a", 5, 5)
    with pytest.raises(ValueError, match="needs lead"):
        Dimension("a", 0, 5, relative=True)


def test_connects_by_a_description(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """LeRobot itself is stood in for: what we call of it is its registry, its factory and the robot."""
    arm = FakeArm()
    made: list[Any] = []

    class DecodingError(Exception):
        pass

    def decode(kind: Any, values: Any) -> Any:
        if "colour" in values:
            raise DecodingError("no field 'colour'")
        return values

    def make(config: dict[str, Any]) -> FakeArm:
        made.append(config)
        return arm

    robots = types.ModuleType("lerobot.robots")
    robots.RobotConfig = object  # type: ignore[attr-defined]
    robots.make_robot_from_config = make  # type: ignore[attr-defined]
    draccus = types.ModuleType("draccus")
    draccus.decode, draccus.utils = decode, types.SimpleNamespace(DecodingError=DecodingError)  # type: ignore[attr-defined]
    modules = {"draccus": draccus, "lerobot": types.ModuleType("lerobot"), "lerobot.robots": robots}
    modules["lerobot.robots.so_follower"] = types.ModuleType("lerobot.robots.so_follower")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    file = tmp_path / "arm.json"
    text = """{"kind": "lerobot", "modules": ["lerobot.robots.so_follower"],
      "robot": {"type": "so101_follower", "port": "/dev/ttyACM0"}, "cameras": {"front": "top"},
      "dimensions": {"pan": {"key": "shoulder_pan.pos", "low": -90, "high": 90, "relative": true, "lead": 8},
        "lift": {"key": "shoulder_lift.pos", "low": -50, "high": 50, "scale": 100, "offset": 5},
        "gripper": {"key": "gripper.pos", "low": 0, "high": 100, "scale": 100}}}"""
    file.write_text(text)
    robot, instruction = open_robot(str(file), TabletopScene(), ARM)
    assert instruction is None
    assert made == [{"type": "so101_follower", "port": "/dev/ttyACM0"}]
    assert [arm.connected] == [True]
    assert robot.embodiment == ARM
    robot.close()
    assert arm.connected is False

    for broken, message in (
        (text.replace('"lerobot",', '"lerobot", "colour": 1,', 1), r"unknown keys \['colour'\], missing keys \[\]"),
        (text.replace('"port"', '"colour"'), "no field 'colour'"),
        (text.replace('"lead": 8', '"led": 8'), "unexpected keyword argument 'led'"),
        (text.replace('"kind": "lerobot"', '"kind": "lego"'), "whose 'kind' is one of"),
        (text[:-1], "is not valid JSON"),
    ):
        file.write_text(broken)
        with pytest.raises(ValueError, match=message):
            open_robot(str(file), TabletopScene(), ARM)
    file.write_text(text)
    arm.is_calibrated = False
    with pytest.raises(ValueError, match="not calibrated"):
        open_robot(str(file), TabletopScene(), ARM)
    assert arm.connected is False
    with pytest.raises(ValueError, match="neither 'tabletop' nor a JSON file"):
        open_robot("arm7", TabletopScene(), ARM)


def test_pictures_are_cut_in_the_middle_and_resized() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[:, 10:70] = 200
    assert (fitted(picture, (48, 48))[:, 1:-1] == 200).all(), "the sides are cut off"
    assert fitted(picture, (60, 80)) is picture
    assert fitted(picture, (30, 40)).shape == (30, 40, 3)
