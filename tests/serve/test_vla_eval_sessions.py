"""vla-eval's own client against the server."""

from __future__ import annotations

import time
from typing import Any

import anyio
import msgpack
import numpy as np
import pytest
from serving import Still, message, observation, options, pack, session
from vla_eval.connection import Connection
from vla_eval.protocol.messages import MessageType, unpack_message

from thinkvla.evaluate.wire import encode_observation
from thinkvla.serve.server import running


class Counting(Still):
    """Action k of chunk n is n + k/8, scaled into the range."""

    def chunk_for(self, observation: Any) -> Any:
        return np.tile((len(self.batches) + np.arange(8)[:, None] / 8) / 100, (1, 7)).astype(np.float32)


def talk(port: int, work: Any) -> Any:
    async def run() -> Any:
        async with Connection(f"ws://127.0.0.1:{port}") as connection:
            return await work(connection)

    return anyio.run(run)


def test_its_client_gets_one_action_for_each_observation() -> None:
    async def work(connection: Connection) -> list[float]:
        assert connection.server_info["observation_params"] == {"observe_every": 3}
        await connection.start_episode({"task": {"name": "near"}})
        found = []
        for step in range(7):
            # Between chunks nothing is looked at; tabletop's benchmark then sends nothing.
            shown = encode_observation(observation(step)) if step % 3 == 0 else {}
            found.append(float((await connection.act(shown))["actions"][0]))
        await connection.end_episode({"metrics": {}})
        await connection.start_episode({"task": {"name": "near"}})
        found.append(float((await connection.act(encode_observation(observation(9))))["actions"][0]))
        return found

    policy = Counting()
    with running(policy, options(execute=3)) as server:
        found = talk(server.port, work)
    assert np.allclose(found, np.array([1, 1.125, 1.25, 2, 2.125, 2.25, 3, 4]) / 100)
    seen = policy.batches[1][0]
    assert np.array_equal(seen.images["front"], observation(3).images["front"])  # through PNG


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({}, "observation: 'images' must be a map"),
        ({"images": {}}, "observation: 'task_description' must be text"),
        ({"images": {}, "task_description": "go"}, "camera 'front' is missing"),
        (
            {"images": dict.fromkeys(("front", "wrist"), np.zeros((64, 96, 3), np.uint8)), "task_description": "go"},
            "expected an RGB picture of 96x96",
        ),
        (
            {"images": dict.fromkeys(("front", "top"), np.zeros((96, 96, 3), np.uint8)), "task_description": "go"},
            "camera 'wrist' is missing",
        ),
    ],
)
def test_its_client_is_told_what_does_not_fit(shown: dict[str, Any], words: str) -> None:
    async def work(connection: Connection) -> str:
        await connection.start_episode({"task": {"name": "near"}})
        with pytest.raises(RuntimeError) as refused:
            await connection.act(shown)
        return str(refused.value)

    with running(Still(), options()) as server:
        answer = talk(server.port, work)
    assert words in answer
    assert "Traceback" not in answer


def test_a_benchmark_has_no_deadline() -> None:
    class Slow(Still):
        def act(self, observations: Any) -> Any:
            time.sleep(0.3)
            return super().act(observations)

    async def work(connection: Connection) -> Any:
        await connection.start_episode({"task": {"name": "near"}})
        return (await connection.act(encode_observation(observation(0))))["actions"]

    with running(Slow(), options(deadline_s=0.05)) as server:
        assert talk(server.port, work).shape == (7,)


def test_a_benchmark_is_told_instead_of_held() -> None:
    class Broken(Still):
        def chunk_for(self, observation: Any) -> Any:
            return self.actions * (np.nan if len(self.batches) > 1 else 1)

    async def work(connection: Connection) -> str:
        await connection.start_episode({"task": {"name": "near"}})
        await connection.act(encode_observation(observation(0)))
        with pytest.raises(RuntimeError) as refused:
            await connection.act(encode_observation(observation(1)))
        return str(refused.value)

    with running(Broken(), options(execute=1)) as server:
        assert "held: a robot would be held still now (not_finite)" in talk(server.port, work)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"type": "hello", "payload": {"protocol_version": 2}, "seq": 1, "timestamp": 0.0}, "protocol_version"),
        ({"type": "action", "payload": {}, "seq": 1, "timestamp": 0.0}, "a client sends no 'action'"),
        (message(), "this is no message of vla-eval"),
    ],
)
def test_errors_come_as_its_own_messages(sent: dict[str, Any], words: str) -> None:
    with running(Still(), options()) as server, session(server.port) as client:
        client.send(msgpack.packb({"type": "episode_start", "payload": {}, "seq": 0, "timestamp": 0.0}))
        client.send(pack(sent))
        answer = client.recv(10)
        assert isinstance(answer, bytes)
        error = unpack_message(answer)
    assert error.type is MessageType.ERROR
    assert words in error.payload["error"]
