"""The tabletop process: its world moves on by itself, follows commands, halts, and ends with its connection."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import numpy as np
import pytest

from thinkvla.robot.tabletop import TabletopRobot
from thinkvla.robot.tabletop_process import RealTime
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.world import World

TASK = suite("object")[0]
RIGHT = np.array([0, -1, 0, 0, 0, 0, 0], np.float32)


@pytest.fixture
def world() -> Iterator[World]:
    with World(TASK, (16, 16)) as made:
        made.reset(50_000)
        yield made


def test_an_action_takes_its_time_and_can_be_halted(world: World) -> None:
    start = world.state().gripper.position
    world.step(RIGHT)
    whole = world.snapshot()
    world.reset(50_000)
    world.begin(RIGHT)
    for _ in range(5):
        world.advance(0.02)
    np.testing.assert_array_equal(world.snapshot()[1:20], whole[1:20])
    world.reset(50_000)
    world.begin(RIGHT)
    world.advance(0.02)
    world.halt()
    world.advance(1.0)
    halted = world.state().gripper.position
    world.begin(RIGHT)
    world.advance(1.0)
    moved = world.state().gripper.position
    assert abs(halted[1] - start[1]) < 0.015, "a fifth of 5 cm"
    assert moved[1] - halted[1] < -0.035


def test_the_world_follows_the_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("thinkvla.robot.tabletop_process.time.monotonic", lambda: now)
    real = RealTime(world)
    now += 0.1
    real.catch_up()
    assert world.time == pytest.approx(0.1)
    now += 30.0  # the process was asleep: 0.2 s are caught up, the rest is skipped
    real.catch_up()
    assert world.time == pytest.approx(0.3)
    now += 0.1
    real.catch_up()
    assert world.time == pytest.approx(0.4)
    head, images = real.handle({"do": "observe"}).split(b"\n", 1)
    assert json.loads(head) == {"taken_at": now, "done": False, "bytes": [768, 768]}
    assert len(images) == 2 * 768
    with pytest.raises(ValueError, match="'do' is none of observe"):
        real.handle({"do": "dance"})


def test_a_process_of_its_own() -> None:
    robot = TabletopRobot("object", TASK.name, 50_000)
    try:
        assert robot.instruction == "put the red cube on the blue plate"
        first = robot.observe()
        assert first.images["front"].shape == (96, 96, 3)
        assert 0 <= time.monotonic() - first.taken_at < 60
        robot.act(robot.command(RIGHT))
        deadline = time.monotonic() + 60
        while np.array_equal(robot.observe().images["wrist"], first.images["wrist"]):
            assert time.monotonic() < deadline, "it does not move"
        robot.stop()
    finally:
        robot.close()
    assert robot._process.returncode == 0
    with pytest.raises(ValueError, match="cube"):
        TabletopRobot("object", "red_cub", 50_000)
