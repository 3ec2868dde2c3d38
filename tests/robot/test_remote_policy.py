"""``thinkvla run`` with a policy server, over real sockets: what it is handed, and what it does when that fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeRobot
from tiny_models import EMBODIMENT, INSTRUCTIONS, observation

from thinkvla.contract import ActionChunk, ContractError, Observation
from thinkvla.deploy import load_policy
from thinkvla.robot import run as runtime
from thinkvla.robot.clock import WallClock
from thinkvla.robot.loop import Limits, Run
from thinkvla.robot.run import RemotePolicy, RunOptions, run
from thinkvla.serve.client import PolicyClient
from thinkvla.serve.faults import Refused
from thinkvla.serve.options import GuardOptions, ServerOptions
from thinkvla.serve.server import PolicyServer, running


class Policy:
    """Says 0.25 in every dimension, and waits while its gate is closed."""

    def __init__(self) -> None:
        self.embodiment, self.chunk = EMBODIMENT, 8
        self.gate = threading.Event()
        self.gate.set()

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        assert self.gate.wait(60)
        return [ActionChunk(np.full((8, 7), 0.25, np.float32)) for _ in observations]


def options(**changes: Any) -> ServerOptions:
    return ServerOptions(port=0, **{"deadline_s": 60.0, **changes})


def client(server: PolicyServer, timeout_s: float = 60) -> PolicyClient:
    return PolicyClient(f"ws://127.0.0.1:{server.port}", timeout_s=timeout_s)


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> FakeRobot:
    """The robot of every run here, in real time."""
    made = FakeRobot(WallClock())  # type: ignore[arg-type]
    monkeypatch.setattr(runtime, "open_robot", lambda name, scene, embodiment: (made, "lift it"))
    return made


def drive(server: PolicyServer, folder: Path, **limits: float) -> Run:
    patient = {"seconds": 60, "late_steps": 10_000, "max_age_s": 60, "answer_s": 60, "watchdog_s": 60} | limits
    address = f"ws://127.0.0.1:{server.port}"
    return run(RunOptions(address, folder / "out", stop_file=folder / "STOP", limits=Limits(**patient)))  # type: ignore[arg-type]


def test_a_server_answers_as_its_policy_does(plain: Path) -> None:
    policy = load_policy(plain, "cpu")
    seen = [observation(instruction, seed) for seed, instruction in enumerate(INSTRUCTIONS)]
    with running(policy, options()) as server, client(server) as connected:
        remote = RemotePolicy(connected)
        assert (remote.embodiment, remote.chunk) == (policy.embodiment, policy.chunk)
        answers = [remote.chunk_for(one, None) for one in seen]
    for one, answer in zip(seen, answers, strict=True):
        np.testing.assert_array_equal(answer.actions, policy.act([one])[0].actions)


def test_a_run_does_what_the_server_says(robot: FakeRobot, tmp_path: Path) -> None:
    robot.on_act = lambda step: setattr(robot, "done_at", robot.seen if step == 5 else None)
    with running(Policy(), options()) as server:
        result = drive(server, tmp_path)
    assert result.ended == "done"
    np.testing.assert_array_equal(robot.acted, np.full((6, 7), 0.25))
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["policy"] == f"ws://127.0.0.1:{server.port}"


def test_a_server_that_goes_away_stops_the_robot(robot: FakeRobot, tmp_path: Path) -> None:
    with running(Policy(), options()) as server:
        robot.on_act = lambda step: server.stop() if step == 1 else None
        result = drive(server, tmp_path)
    assert result.ended == "exception"
    assert result.reason.startswith(f"ConnectionError: ws://127.0.0.1:{server.port}: ")
    assert "the server is shutting down" in result.reason
    assert robot.log[-1] == "stop"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["reason"] == result.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"control_hz": 20.0}, r"another robot: control_hz differ \(control_hz: the robot has 20.0, the policy 10.0"),
        ({"cameras": ("front", "side")}, r"cameras: the robot has \['front', 'side'\], the policy \['front', 'wrist"),
        ({"action_high": (2.0,) * 7}, r"action_high: the robot has \[2.0,"),
    ],
)
def test_a_server_for_another_robot_is_refused(
    robot: FakeRobot, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    robot.embodiment = replace(EMBODIMENT, **change)
    with running(Policy(), options()) as server, pytest.raises(ContractError, match=words):
        drive(server, tmp_path)
    assert robot.log == []
    assert robot.closed
    assert not (tmp_path / "out").exists()


def test_a_held_chunk_is_handed_on_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """A policy that misses the server's deadline: nothing to hold at first, then the gripper as it was told last."""
    policy = Policy()
    with running(policy, options(deadline_s=0.3)) as server, client(server) as connected:
        remote = RemotePolicy(connected)
        policy.gate.clear()
        with pytest.raises(Refused, match="nothing_to_hold"):
            remote.chunk_for(observation("lift it", 0), None)
        policy.gate.set()
        answered(remote)
        assert "holds the robot" not in caplog.text
        policy.gate.clear()
        held = remote.chunk_for(observation("lift it", 200), None)
        np.testing.assert_array_equal(held.actions, np.tile(np.array([0] * 6 + [0.25], np.float32), (8, 1)))
        assert "the policy server holds the robot still: no_answer" in caplog.text
        policy.gate.set()


def test_the_first_step_is_limited_from_what_was_executed() -> None:
    """Not from where the server supposes the robot to be: after the last of its own actions."""
    guards = GuardOptions(step_limits={"x": 0.1})
    with running(Policy(), options(guards=guards)) as server, client(server) as connected:
        remote = RemotePolicy(connected)
        for last, first in ((None, 0.25), (np.zeros(7, np.float32), 0.1), (np.full(7, 0.2, np.float32), 0.25)):
            assert remote.chunk_for(observation("lift it", 0), last).actions[0, 0] == pytest.approx(first)


def answered(remote: RemotePolicy) -> None:
    """Ask until the policy is free again."""
    for seed in range(1, 100):
        try:
            chunk = remote.chunk_for(observation("lift it", seed), None)
        except Refused:
            continue
        np.testing.assert_array_equal(chunk.actions, np.full((8, 7), 0.25))
        return
    raise AssertionError("no answer")


def test_a_late_answer_can_be_refused_and_stops_the_robot(robot: FakeRobot, tmp_path: Path) -> None:
    policy = Policy()
    guards = GuardOptions(no_answer="refuse")
    with running(policy, options(deadline_s=0.3, guards=guards)) as server:
        policy.gate.clear()
        result = drive(server, tmp_path)
        policy.gate.set()
    assert result.ended == "exception"
    assert result.reason.startswith("Refused: deadline: ")
    assert "act" not in robot.log
    assert robot.log[-1] == "stop"


def test_a_silent_server_is_no_answer(robot: FakeRobot, tmp_path: Path) -> None:
    policy = Policy()
    with running(policy, options()) as server:
        policy.gate.clear()
        result = drive(server, tmp_path, answer_s=0.5)
        policy.gate.set()
    assert result.ended == "no_answer"
    assert robot.log == ["stop"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda folder: {}, "is 'thinkvla serve' running there"),
        (lambda folder: {"token_file": folder / "none.txt"}, "No such file.*none.txt"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, given: Callable[[Path], dict[str, Any]], words: str) -> None:
    chosen = RunOptions("ws://127.0.0.1:9", tmp_path / "out", stop_file=tmp_path / "STOP", **given(tmp_path))
    with pytest.raises(RuntimeError, match=words):
        run(chosen)
