"""The control loop under injected faults: whatever happens, the robot is stopped, nothing is sent after that, and the
run says why. Time is a fake clock's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeClock, FakeRobot, FakeThinker

from thinkvla.contract import Actions
from thinkvla.robot.loop import ControlLoop, Limits, Run
from thinkvla.robot.safety import Brake, EmergencyStop, Fault, Watchdog
from thinkvla.robot.scheduler import ChunkScheduler, Mode


@dataclass
class Bench:
    """A loop and everything it touches."""

    clock: FakeClock
    robot: FakeRobot
    thinker: FakeThinker
    emergency: EmergencyStop
    stop_file: Path
    instruction: str = "lift it"
    limits: Limits = Limits(seconds=1.0)  # noqa: RUF009
    mode: Mode = "switch"
    delay_steps: int = 0

    def loop(self, **options: object) -> ControlLoop:
        scheduler = ChunkScheduler(8, mode=self.mode, execute=2)
        return ControlLoop(
            self.robot,
            self.thinker,
            scheduler,
            self.instruction,
            self.limits,
            self.emergency,
            self.clock,
            **options,  # type: ignore[arg-type]
        )

    def drive(self, **options: object) -> Run:
        run = self.loop(**options).drive()
        assert self.robot.log[-1] == "stop", "whatever ends a run, the robot was told to stop last"
        return run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    clock = FakeClock()
    stop_file = tmp_path / "STOP"
    return Bench(clock, FakeRobot(clock), FakeThinker(clock), EmergencyStop(stop_file), stop_file)


def test_acts_at_the_control_rate_until_time_is_up(bench: Bench) -> None:
    bench.thinker.delay = 0.12
    run = bench.drive()
    assert (run.ended, run.held, run.late) == ("time_is_up", 1, 0)
    # The first chunk is waited for, so it begins with its first row; every later one with its third.
    assert [round(a[0], 3) for a in bench.robot.acted] == [0.1, 0.11, 0.12, 0.13, 0.22, 0.23, 0.32, 0.33, 0.42]
    assert bench.thinker.asked == pytest.approx([100.0, 100.32, 100.52, 100.72, 100.92])
    assert run.answers_s == pytest.approx([0.12, 0.2, 0.2, 0.2])
    told = [None if last is None else round(float(last[0]), 3) for last in bench.thinker.told]
    assert told == [None, 0.11, 0.13, 0.23, 0.33], "what was executed before each observation"
    assert len(run.actions) == len(run.frames["front"]) == 10
    assert run.actions[0].tolist() == [0] * 7, "a step of holding is recorded as no movement"
    assert [int(image[0, 0, 0]) for image in run.frames["wrist"]] == list(range(10)), "seen before each action"
    assert run.summary()["steps"] == 10


def test_synchronous_holds_just_until_the_answer_is_there(bench: Bench) -> None:
    bench.mode, bench.thinker.delay = "synchronous", 0.03
    bench.drive()
    assert bench.thinker.asked == pytest.approx([100.0, 100.23, 100.46, 100.69, 100.92])
    assert [round(a[0], 3) for a in bench.robot.acted] == [0.1, 0.11, 0.2, 0.21, 0.3, 0.31, 0.4, 0.41, 0.5]


def test_a_step_of_holding_keeps_the_gripper(bench: Bench) -> None:
    bench.mode, bench.thinker.delay = "synchronous", 0.12
    run = bench.drive()
    assert run.held == 4
    assert [a.tolist() for a in run.actions if a[0] == 0] == [[0] * 7, *[[0] * 6 + [1]] * 3]


def test_a_robot_that_knows_when_it_is_done_ends_the_run(bench: Bench) -> None:
    bench.robot.done_at = 3
    assert bench.drive().ended == "done"
    assert len(bench.robot.acted) == 3


def not_finite(actions: Actions) -> None:
    actions[5, 2] = np.nan


def too_far(actions: Actions) -> None:
    actions[1, 0] = 1.5


@pytest.mark.parametrize(
    ("change", "message"),
    [(not_finite, "action chunk: step 5, 'z' is nan"), (too_far, "'x' is 1.5000, outside")],
)
def test_unsafe_actions_stop_before_any_of_the_chunk_is_sent(
    bench: Bench, change: Callable[[Actions], None], message: str
) -> None:
    bench.thinker.change = lambda actions: change(actions) if len(bench.thinker.asked) == 2 else None
    run = bench.drive()
    assert run.ended == "contract"
    assert message in run.reason
    assert all(a[0] < 0.2 for a in bench.robot.acted), "only rows of the first chunk"


def at_step(wanted: int, action: Callable[[], None]) -> Callable[[int], None]:
    return lambda step: action() if step == wanted else None


def broken() -> None:
    raise OSError("cable pulled")


def test_every_exception_stops(bench: Bench) -> None:
    bench.robot.on_observe = at_step(2, broken)
    run = bench.drive()
    assert (run.ended, run.reason) == ("exception", "OSError: cable pulled")
    bench.robot.on_observe = lambda step: None
    bench.robot.on_act = at_step(len(bench.robot.acted) + 1, broken)
    assert bench.drive().ended == "exception"
    bench.robot.on_act = lambda step: None

    def fails(actions: Actions) -> None:
        raise RuntimeError("out of memory")

    bench.thinker = FakeThinker(bench.clock)
    bench.thinker.change = fails
    assert bench.drive().reason == "RuntimeError: out of memory"


def test_a_stop_that_fails_is_said_aloud(bench: Bench) -> None:
    bench.robot.on_observe = at_step(1, broken)
    bench.robot.on_stop = broken
    run = bench.loop().drive()
    assert "STOPPING FAILED, use the arm's own button: cable pulled" in run.reason
    assert "act" in bench.robot.log
    assert "stop" not in bench.robot.log


@pytest.mark.parametrize("age", [0.6, -0.5, float("nan")])
def test_stale_observations_stop(bench: Bench, age: float) -> None:
    bench.robot.on_observe = at_step(3, lambda: setattr(bench.robot, "age", age))
    run = bench.drive()
    assert run.ended == "stale_observation"
    assert len(bench.robot.acted) == 3


def test_a_camera_that_changes_its_size_stops(bench: Bench) -> None:
    bench.robot.images = lambda: {"front": np.zeros((96, 96, 3), np.uint8)}  # type: ignore[method-assign]
    run = bench.drive()
    assert run.ended == "contract"
    assert "camera 'wrist' is missing" in run.reason
    assert bench.robot.acted == []


def test_missed_deadlines_stop_after_some_in_a_row(bench: Bench) -> None:
    slow = {1, 2, 4, 5, 6}

    def sleepy(step: int) -> None:
        if step in slow:
            bench.clock.sleep(0.25)

    bench.robot.on_act = sleepy
    bench.limits = Limits(seconds=5.0)
    run = bench.drive()
    assert run.ended == "deadline"
    assert run.late == 5
    assert len(bench.robot.acted) == 7, "two in a row were forgiven, three are not"
    assert "3 control steps in a row missed their time, the last by 0.150 s of 0.1 s" in run.reason


def test_a_policy_that_does_not_answer_stops(bench: Bench) -> None:
    bench.thinker.delay = 1e9
    bench.limits = Limits(seconds=10.0, answer_s=2.0)
    run = bench.drive()
    assert run.ended == "no_answer"
    assert bench.robot.acted == []
    assert bench.clock.now() == pytest.approx(102.1, abs=0.11)


def test_the_stop_file_stops(bench: Bench) -> None:
    bench.robot.on_observe = at_step(4, bench.stop_file.touch)
    run = bench.drive()
    assert run.ended == "emergency_stop"
    assert str(bench.stop_file) in run.reason
    assert len(bench.robot.acted) == 5
    with pytest.raises(ValueError, match="exists already; remove it"):
        EmergencyStop(bench.stop_file)


def test_the_watchdog_stops_a_loop_that_hangs(bench: Bench) -> None:
    """The loop is stuck in a camera; the watchdog's thread finds it silent, and what comes later is not sent."""
    loop = bench.loop()

    def hang() -> None:
        bench.clock.sleep(1.5)
        loop.watchdog.check()  # as its thread does

    bench.robot.on_observe = at_step(2, hang)
    run = loop.drive()
    assert run.ended == "watchdog"
    assert "silent for 1.60 s, 1 s are allowed" in run.reason
    assert bench.robot.log == ["act", "act", "stop", "stop", "stop"], (
        "by the watchdog, before the command, and at the end"
    )


def test_the_watchdogs_thread_pulls_the_brake(bench: Bench) -> None:
    stopped = threading.Event()
    bench.robot.on_stop = stopped.set
    brake = Brake(bench.robot)
    watchdog = Watchdog(brake, bench.emergency, bench.clock, limit_s=1.0)
    with watchdog.watching():
        bench.emergency.pull("a test")
        assert stopped.wait(10)
    assert brake.fault is not None
    assert brake.fault.code == "emergency_stop"


def test_nothing_moves_after_the_brake(bench: Bench) -> None:
    brake = Brake(bench.robot)
    brake.act({"action": [1.0]})
    bench.robot.on_act = lambda step: brake.stop(Fault("emergency_stop", "while a command was under way"))
    with pytest.raises(Fault, match="under way"):
        brake.act({"action": [2.0]})
    assert bench.robot.log == ["act", "stop", "act", "stop"], "stopped again after the command that slipped through"
    with pytest.raises(Fault, match="under way"):
        brake.act({"action": [3.0]})
    assert bench.robot.acted == [[1.0], [2.0]]


def test_a_dry_run_moves_nothing(bench: Bench) -> None:
    shown: list[object] = []
    run = bench.drive(dry=True, watch=lambda step, command: shown.append((step, command)))
    assert bench.robot.log == ["stop"]
    assert len(shown) == len(run.actions) == 10
    assert shown[1] == (1, {"action": pytest.approx([0.11, 0, 0, 0, 0, 0, 1])})


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"limits\.max_age_s is 0; it must be above 0"):
        Limits(max_age_s=0)
