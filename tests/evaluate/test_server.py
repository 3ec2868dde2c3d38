from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import numpy as np
import pytest
from stub_benchmark import ROBOT, StubBenchmark, StubPolicy, observation
from vla_eval.api import serve_background
from vla_eval.connection import Connection

from thinkvla.contract import ActionChunk, ContractError, Observation
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.evaluate.server import PolicyServer
from thinkvla.evaluate.wire import decode_observation, encode_observation, require_agreement


class FixedPolicy(StubPolicy):
    """Answers every observation with the same actions."""

    def __init__(self, actions: Any) -> None:
        super().__init__()
        self.actions = actions

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return [ActionChunk(self.actions) for _ in observations]


def talk(server: PolicyServer, messages: list[dict[str, Any]]) -> list[Any]:
    """Send observation messages over a real connection; an answer is an action, or the error's text."""

    async def session(url: str) -> list[Any]:
        answers: list[Any] = []
        async with Connection(url) as connection:
            await connection.start_episode({"task": {"name": "near"}})
            for message in messages:
                try:
                    answers.append((await connection.act(message))["actions"])
                except RuntimeError as error:
                    answers.append(str(error))
        return answers

    with serve_background(server) as handle:
        return anyio.run(session, handle.url)


def test_observation_survives_the_wire() -> None:
    decoded = decode_observation(encode_observation(observation(7)))
    assert decoded.instruction == "push the number up"
    assert all(np.array_equal(image, observation(7).images[name]) for name, image in decoded.images.items())


def test_privileged_observation_survives_the_wire() -> None:
    plain = observation()
    truth = {"suite": "object", "task": "near", "seed": 5, "snapshot": np.arange(3.0)}
    decoded = decode_observation(encode_observation(PrivilegedObservation(plain.images, plain.instruction, truth)))
    assert isinstance(decoded, PrivilegedObservation)
    assert decoded.entry("suite", str) == "object"
    assert decoded.entry("seed", int) == 5
    assert np.array_equal(decoded.entry("snapshot", np.ndarray), np.arange(3.0))
    with pytest.raises(ContractError, match=r"ground truth: key 'hand' is missing \(got \['seed', 'snapshot'"):
        decoded.entry("hand", str)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({}, "'images' is missing"),
        ({"images": [1], "task_description": "go"}, "'images' must be Mapping, got list"),
        ({"images": {}, "task_description": 3}, "'task_description' must be str, got int"),
        ({"images": {}, "task_description": "go", "privileged": [1]}, "'privileged' must be Mapping, got list"),
    ],
)
def test_malformed_message_is_refused(message: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        decode_observation(message)


@pytest.mark.parametrize("execute", [0, 5])
def test_execute_must_fit_the_chunk(execute: int) -> None:
    with pytest.raises(ValueError, match="1 to 4 steps"):
        PolicyServer(StubPolicy(), execute=execute)


def test_chunk_is_executed_open_loop_without_looking() -> None:
    policy = StubPolicy()
    policy.embodiment = ROBOT
    full = encode_observation(observation())
    answers = talk(PolicyServer(policy, execute=3), [full, {}, {}, full, {}, {}])
    assert len(policy.batches) == 2
    for answer in answers:
        assert answer.shape == (7,)
        assert answer.dtype == np.float32
        assert answer[0] == pytest.approx(0.5)


def test_observations_of_many_simulators_share_a_batch() -> None:
    policy = StubPolicy()
    server = PolicyServer(policy, execute=1, batch=4)

    async def session(url: str) -> None:
        async with Connection(url) as connection:
            await connection.start_episode({"task": {"name": "near"}})
            for _ in range(10):
                await connection.act(encode_observation(observation()))

    async def many(url: str) -> None:
        await asyncio.gather(*(session(url) for _ in range(4)))

    with serve_background(server) as handle:
        asyncio.run(many(handle.url))
    assert sum(policy.batches) == 40
    assert 1 < max(policy.batches) <= 4


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (
            replace(observation(), images={"front": np.zeros((4, 6, 3), np.uint8)}),
            "camera 'wrist' is missing",
        ),
        (
            replace(observation(), images=dict.fromkeys(("front", "wrist"), np.zeros((4, 6, 3), np.float32))),
            "uint8",
        ),
        (
            replace(observation(), images=dict.fromkeys(("front", "wrist"), np.zeros((5, 6, 3), np.uint8))),
            "shape",
        ),
        (replace(observation(), instruction=" "), "instruction is empty"),
    ],
)
def test_bad_observation_is_refused_and_the_session_goes_on(broken: Observation, words: str) -> None:
    good = encode_observation(observation())
    refused, answered = talk(PolicyServer(StubPolicy(), batch=2), [encode_observation(broken), good])
    assert words in refused
    assert answered.shape == (7,)


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.full((4, 7), np.nan, np.float32), "step 0, 'x' is nan"),
        (np.full((4, 7), 1.5, np.float32), "outside"),
        (np.zeros((4, 6), np.float32), r"expected shape (steps, 7)"),
        (np.zeros((3, 7), np.float32), "a chunk of 3 actions; it promised 4"),
    ],
)
def test_bad_chunk_never_leaves(actions: Any, words: str) -> None:
    (refused,) = talk(PolicyServer(FixedPolicy(actions)), [encode_observation(observation())])
    assert words in refused


def test_missing_chunk_is_refused() -> None:
    class Silent(StubPolicy):
        def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
            return []

    with pytest.raises(ContractError, match="0 chunks for 1"):
        PolicyServer(Silent()).predict_batch([encode_observation(observation())], [None])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cameras": ("front", "side")}, "images/side"),
        ({"image_size": (8, 8)}, "rgb_hwc_uint8 4x6 vs rgb_hwc_uint8 8x8"),
        ({"action_units": ("0.1 m",) * 7}, "0.1 m"),
        ({"control_hz": 5.0}, "5 Hz"),
    ],
)
def test_policy_of_another_robot_is_refused(change: dict[str, Any], words: str) -> None:
    policy = StubPolicy()
    policy.embodiment = replace(ROBOT, **change)
    with pytest.raises(ContractError, match=words):
        require_agreement(PolicyServer(policy), StubBenchmark())


def test_agreement_passes() -> None:
    require_agreement(PolicyServer(StubPolicy()), StubBenchmark())
