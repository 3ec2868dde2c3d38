"""RealMan arms through the vendor's SDK, against a controller that speaks the documented protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from realman_controller import Controller

from thinkvla.data.video import VideoWriter
from thinkvla.robot.realman import RealManRobot, RealManSpec, waypoints
from thinkvla.robot.rotations import from_vector, to_quaternion
from thinkvla.robot.targets import Pose, Workspace
from thinkvla.tabletop.embodiment import TABLETOP

SPACE = Workspace((0.2, -0.3, 0.0), (0.6, 0.3, 0.4))


def until(true: Callable[[], bool]) -> None:
    """Wait, however slow the machine is."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("camera") / "camera.mp4"
    writer = VideoWriter(file, 10, (96, 128))
    writer.add(np.full((4, 96, 128, 3), 90, np.uint8))
    writer.close()
    return file


@pytest.fixture
def controller() -> Iterator[Controller]:
    made = Controller()
    yield made
    made.close()


@pytest.fixture
def robot(controller: Controller, video: Path) -> Iterator[RealManRobot]:
    made = RealManRobot.connect(spec(controller, video), TABLETOP)
    yield made
    made.close()


def spec(controller: Controller, video: Path) -> RealManSpec:
    return RealManSpec("127.0.0.1", SPACE, {"front": str(video), "wrist": str(video)}, controller.port)


def action(*values: float, gripper: float = -1) -> np.ndarray:
    return np.array([*values, *[0.0] * (6 - len(values)), gripper], np.float32)


def test_a_step_is_streamed_in_equal_parts(robot: RealManRobot, controller: Controller) -> None:
    sight = robot.observe()
    assert sight.images["wrist"].shape == (96, 96, 3)
    assert abs(int(sight.images["wrist"].mean()) - 90) < 3
    command = robot.command(action(0.4, -0.2))
    assert command["pose"][:3] == pytest.approx([0.42, -0.01, 0.2])
    assert command["gripper"] == 1000
    assert controller.received("movep_canfd") == [], "nothing moves before act"
    robot.act(command)
    until(lambda: len(controller.received("movep_canfd")) == 5)
    sent = [message["pose_quat"] for message in controller.received("movep_canfd")]
    np.testing.assert_allclose(
        [p[:3] for p in sent], [[400000 + 4000 * n, -2000 * n, 200000] for n in range(1, 6)], atol=2
    )
    np.testing.assert_allclose(np.abs([p[3:] for p in sent]), [[204, 1000000, 0, 0]] * 5, atol=2)
    assert not any(message["follow"] for message in controller.received("movep_canfd"))
    [gripper] = controller.received("set_gripper_position")
    assert (gripper["position"], gripper["block"]) == (1000, False)
    assert robot.command(action(0.1))["gripper"] is None, "open already"
    assert robot.command(action(0.1, gripper=0.3))["gripper"] == 1


def test_stop_ends_the_stream(robot: RealManRobot, controller: Controller) -> None:
    robot.act(robot.command(action(1)))
    robot.stop()
    count = len(controller.received("movep_canfd"))
    assert len(controller.received("set_arm_stop")) == 1
    assert count < 5 or controller.pose[0] <= 450000
    robot.close()
    assert len(controller.received("movep_canfd")) == count, "nothing after the stop"


def test_errors_of_the_arm_raise(robot: RealManRobot, controller: Controller) -> None:
    controller.error = 4098
    with pytest.raises(RuntimeError, match="the arm reports system errors"):
        robot.command(action(0.1))
    controller.error = 0
    robot.command(action(0.1))
    with pytest.raises(RuntimeError, match="takes what command"):
        robot.act({"pose": [0.5, 0, 0, 1, 0, 0, 0], "gripper": None})
    controller.deaf = {"get_current_arm_state", "set_arm_stop"}
    with pytest.raises(RuntimeError, match="get_current_arm_state failed with the SDK's code -"):
        robot.command(action(0.1))
    with pytest.raises(RuntimeError, match="set_arm_stop failed"):
        robot.stop()


def test_mistakes_are_named(controller: Controller, video: Path, tmp_path: Path) -> None:
    good = spec(controller, video)
    with pytest.raises(ValueError, match=r"cameras \['wrist'\] differ"):
        RealManRobot.connect(replace(good, cameras={"front": str(video)}), TABLETOP)
    with pytest.raises(ValueError, match=r"camera '.*none' cannot be opened"):
        RealManRobot.connect(replace(good, cameras=dict.fromkeys(TABLETOP.cameras, str(tmp_path / "none"))), TABLETOP)
    with pytest.raises(ValueError, match="expected at least one pose a step"):
        RealManRobot.connect(replace(good, stream_hz=3), TABLETOP)
    controller.close()
    with pytest.raises(RuntimeError, match="no RealMan controller answers"):
        RealManRobot.connect(replace(good, port=1), TABLETOP)


def test_waypoints_share_the_way() -> None:
    begin = Pose(np.array([0.1, 0.2, 0.3]), from_vector([0.3, 0, 0]))
    end = Pose(np.array([0.2, 0.2, 0.1]), from_vector([0, 0, 0.2]) @ begin.rotation)
    path = waypoints(begin, end, 4)
    np.testing.assert_allclose(path[-1].position, end.position)
    np.testing.assert_allclose(path[-1].rotation, end.rotation, atol=1e-12)
    np.testing.assert_allclose(path[0].position, [0.125, 0.2, 0.25])
    np.testing.assert_allclose(path[1].rotation, from_vector([0, 0, 0.1]) @ begin.rotation, atol=1e-12)
    assert to_quaternion(np.eye(3)).tolist() == pytest.approx([1, 0, 0, 0])
