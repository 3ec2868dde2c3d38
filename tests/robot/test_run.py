"""``thinkvla run``: options to recording, on a robot that is a fake, and once for real on the tabletop process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeRobot
from tiny_models import EMBODIMENT

from thinkvla.cli import run as command
from thinkvla.contract import ActionChunk, ContractError
from thinkvla.data.validate import validate
from thinkvla.robot import run as runtime
from thinkvla.robot.clock import WallClock
from thinkvla.robot.loop import Limits
from thinkvla.robot.run import RunOptions, run
from thinkvla.robot.thinker import LocalPolicy


class Policy:
    """Its chunks always say the same."""

    chunk = 8

    def __init__(self) -> None:
        self.embodiment = EMBODIMENT

    def act(self, observations: Any) -> list[ActionChunk]:
        return [ActionChunk(np.full((8, 7), 0.25, np.float32)) for _ in observations]


class AnyTime(FakeRobot):
    """In real time: its pictures are of now."""

    def __init__(self) -> None:
        super().__init__(WallClock())  # type: ignore[arg-type]


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> AnyTime:
    """The robot and the policy that every run here gets."""
    made = AnyTime()

    @contextmanager
    def policy(options: RunOptions) -> Iterator[LocalPolicy]:
        yield LocalPolicy(Policy())

    monkeypatch.setattr(runtime, "_policy", policy)
    monkeypatch.setattr(runtime, "open_robot", lambda name, scene, embodiment: (made, None))
    return made


def options(folder: Path, **changes: Any) -> RunOptions:
    chosen = {"instruction": "lift it", "stop_file": folder / "STOP", **changes}
    patient = Limits(seconds=60, late_steps=10_000, max_age_s=60, answer_s=60, watchdog_s=60)
    return RunOptions("policy", folder / "out", limits=patient, **chosen)


def test_a_run_is_recorded_as_an_episode(robot: AnyTime, tmp_path: Path) -> None:
    robot.done_at = 5
    result = run(options(tmp_path))
    assert result.ended == "done"
    assert robot.closed
    assert robot.log[-1] == "stop"
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (about["ended"], about["steps"], about["instruction"], about["execute"]) == ("done", 5, "lift it", 4)
    assert about["options"]["limits"]["seconds"] == 60
    report = validate(str(tmp_path / "out" / "episodes"), None, ())
    assert report.exit_code == 0, str(report)


def test_a_fault_before_the_first_step_is_recorded_too(robot: AnyTime, tmp_path: Path) -> None:
    robot.on_observe = lambda step: (_ for _ in ()).throw(OSError("no camera"))
    result = run(options(tmp_path))
    assert (result.ended, result.reason) == ("exception", "OSError: no camera")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["reason"] == "OSError: no camera"
    assert not (tmp_path / "out" / "episodes").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_the_robot_and_not_the_program(robot: AnyTime, tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    robot.on_act = lambda step: os.kill(os.getpid(), number) if step == 2 else None
    result = run(options(tmp_path))
    assert (result.ended, result.reason) == ("emergency_stop", f"stopped by {number.name}")
    assert (tmp_path / "out" / "episodes").is_dir()
    assert signal.getsignal(number) is before


def test_a_dry_run_shows_what_would_be_sent(robot: AnyTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robot.done_at = 3
    run(options(tmp_path, dry_run=True, mode="synchronous"))
    assert "act" not in robot.log
    assert '1: {"action": [0.25, 0.25,' in capsys.readouterr().err


def test_mistakes_are_named(robot: AnyTime, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="say what the robot should do"):
        run(options(tmp_path, instruction=None))
    robot.embodiment = replace(EMBODIMENT, name="other", control_hz=20.0)
    with pytest.raises(ContractError, match=r"another robot: control_hz, name differ \(control_hz: the robot has 20.0"):
        run(options(tmp_path))
    (tmp_path / "STOP").touch()
    with pytest.raises(ValueError, match="stop file"):
        run(options(tmp_path))
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        run(options(tmp_path))
    assert "act" not in robot.log


def test_the_shipped_policy_moves_the_tabletop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = "--limits.seconds 2 --limits.late-steps 10000 --limits.max-age-s 60 --limits.answer-s 60"
    arguments = f"run tabletop_r7 --output {tmp_path / 'out'} --stop-file {tmp_path / 'STOP'} {limits}".split()
    assert command([*arguments, "--limits.watchdog-s", "60", "--tabletop.seed", "50000"]) == 0
    assert "time_is_up" in capsys.readouterr().out
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["instruction"] == "put the red cube on the blue plate"
    assert about["steps"] >= 1
