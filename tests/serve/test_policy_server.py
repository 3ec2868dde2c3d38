"""Sessions over real sockets, each fault injected once."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
import pytest
from serving import CHUNK, Gated, Still, ask, message, observation, options, pack, session, wait_until
from tiny_models import EMBODIMENT
from websockets.exceptions import ConnectionClosed, InvalidStatus

from thinkvla.contract import ActionChunk, Observation
from thinkvla.serve.options import GuardOptions
from thinkvla.serve.server import running


def test_answers_openpi_clients() -> None:
    policy = Still()
    with running(policy, options()) as server, session(server.port) as client:
        answer = ask(client, message(3))
        assert np.array_equal(answer["actions"], policy.actions)
        assert answer["held"] is False
        assert set(answer["server_timing"]) == {"queue_ms", "infer_ms", "total_ms"}
        [[seen]] = policy.batches
        assert seen.instruction == "lift it"
        assert all(np.array_equal(seen.images[c], observation(3).images[c]) for c in EMBODIMENT.cameras)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("text", "frame: expected a binary message"),
        (b"\x91", "frame: "),
        (pack([1]), "observation: an observation must be a map"),
        (message(observation__image=None), r"observation: key 'observation/image' is missing (camera 'front')"),
        (message(prompt=None), "observation: key 'prompt', the instruction, is missing"),
        (message(prompt=3), "observation: 'prompt' must be text, got int"),
        (message(prompt=" "), "observation: observation.instruction is empty"),
        (message(prompt="x" * 600), "instruction: the instruction has 600 characters; the limit is 512"),
        (message(extra=1), "observation: unknown keys ['extra']"),
        (
            message(observation__image=np.zeros((96, 96, 3))),
            "observation: observation.images['front']: expected a",
        ),
        (message(observation__image=np.zeros((48, 96, 3), np.uint8)), "expected shape (96, 96, 3)"),
        (message(timestamp=time.time() - 60), "stale: "),
        (message(timestamp="now"), "observation: 'timestamp' must be a number"),
        (message(last_action=[1.0] * 7), "observation: 'last_action' must be an array"),
        (message(last_action=np.full(7, np.nan)), "observation: 'last_action' must be finite floats of shape (7,)"),
        (
            message(contract={"chunk": 16, "embodiment": {"control_hz": 20.0}}),
            "contract: the client's",
        ),
        (message(contract=5), "contract: 'contract' must be a map"),
    ],
)
def test_wrong_requests_are_told_why_and_the_session_goes_on(request_: Any, words: str) -> None:
    with SHARED.client() as client:
        answer = ask(client, request_)
        assert isinstance(answer, str)
        assert words in answer
        assert "Traceback" not in answer
        assert ask(client, message())["actions"].shape == (CHUNK, 7)


def test_what_was_wrong_once_is_wrong_again_and_what_was_fit_is_looked_at_again() -> None:
    misspelt, still = message(), message(last_action=np.zeros(7))
    misspelt["observation/imag"] = misspelt.pop("observation/image")
    with SHARED.client() as client:
        for _ in range(2):  # the second frame has the form of the first, which did not pass
            assert ask(client, misspelt).startswith("observation: key 'observation/image' is missing")
        for seed in range(2):
            assert ask(client, {**still, **message(seed)})["held"] is False
        assert ask(client, {**still, "last_action": np.full(7, np.nan)}).startswith("observation: 'last_action'")
        assert ask(client, misspelt).startswith("observation: key 'observation/image' is missing")
        seen = message(5)
        assert np.array_equal(ask(client, seen)["actions"], ask(client, message(6))["actions"])


class Shared:
    """One server for the tests that need nothing of their own."""

    def __init__(self) -> None:
        self.port = 0

    def client(self) -> Any:
        return session(self.port)


SHARED = Shared()


@pytest.fixture(scope="module", autouse=True)
def _shared() -> Any:
    with running(Still(), options()) as server:
        SHARED.port = server.port
        yield


def test_a_client_with_another_contract_is_told_every_field() -> None:
    theirs = {"chunk": 16, "embodiment": {"cameras": ["wrist", "front"], "control_hz": 10.0}}
    with SHARED.client() as client:
        answer = ask(client, message(contract=theirs))
        assert "chunk: the client has 16, the server 8" in answer
        assert "embodiment.cameras: the client has ['wrist', 'front'], the server ['front', 'wrist']" in answer
        assert "control_hz" not in answer
        assert ask(client, message(contract={"chunk": 8}))["actions"].shape == (CHUNK, 7)


def test_too_long_messages_are_not_received() -> None:
    with SHARED.client() as client:
        client.send(b"\xc6" + bytes(2**20))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_keys_can_be_chosen() -> None:
    given = options(keys={"front": "cam/0"}, instruction_key="task", ignored=("joints",))
    with running(Still(), given) as server, session(server.port) as client:
        images = observation().images
        request = {"cam/0": images["front"], "observation/wrist_image": images["wrist"], "task": "go", "joints": [1.0]}
        assert ask(client, request)["actions"].shape == (CHUNK, 7)
        assert "key 'cam/0' is missing" in ask(client, message())


class Faulty(Still):
    """Gives NaN for one instruction, fails for another and answers the rest."""

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        if any(one.instruction == "fail" for one in observations):
            raise RuntimeError("the secret reason")
        return super().act(observations)

    def chunk_for(self, observation: Observation) -> Any:
        actions = self.actions.copy()
        if observation.instruction == "nan":
            actions[2, 1] = np.nan
        if observation.instruction == "wild":
            actions[2, 1] = 7
        return actions[:3] if observation.instruction == "short" else actions


def test_guards_act_and_are_counted() -> None:
    with running(Faulty(), options(GuardOptions(step_limits={"x": 0.1}))) as server, session(server.port) as client:
        refused = ask(client, message(0, prompt="fail"))
        assert refused.startswith("nothing_to_hold: ")  # no action yet that could be held
        ask(client, message(1))
        nan = ask(client, message(2, prompt="nan"))
        assert nan["held"] is True
        assert nan["guards"] == {"not_finite": "hold"}
        assert not nan["actions"][2:, :6].any()
        wild = ask(client, message(3, prompt="wild"))
        assert wild["guards"] == {"out_of_range": "clip", "step_limit": "clip"}  # x starts from the held zero
        for seed, prompt in enumerate(("fail", "short"), start=4):
            failed = ask(client, message(seed, prompt=prompt))
            assert failed["guards"] == {"no_answer": "hold"}
            assert np.array_equal(failed["actions"], np.tile(np.array([0] * 6 + [0.25], np.float32), (CHUNK, 1)))
        limited = ask(client, message(7, last_action=np.full(7, -1.0)))
        assert np.allclose(limited["actions"][:, 0], np.minimum(-1 + 0.1 * np.arange(1, 9), 0.25))
        assert dict(server.metrics.guards) == {
            "no_answer: hold": 3,
            "nothing_to_hold: refuse": 1,
            "not_finite: hold": 1,
            "out_of_range: clip": 1,
            "step_limit: clip": 2,
        }


def test_no_answer_can_be_refused() -> None:
    with running(Faulty(), options(GuardOptions(no_answer="refuse"))) as server, session(server.port) as client:
        answer = ask(client, message(prompt="fail"))
        assert answer.startswith("failed: the policy failed")
        assert "secret" not in answer


def test_deadline_holds_and_a_late_answer_is_not_sent() -> None:
    policy = Gated()
    with running(policy, options(deadline_s=0.3)) as server, session(server.port) as client:
        policy.gate.set()
        assert ask(client, message(0))["held"] is False
        policy.gate.clear()
        late = ask(client, message(1))
        assert late["guards"] == {"no_answer": "hold"}
        assert np.array_equal(late["actions"], np.tile(np.array([0] * 6 + [0.25], np.float32), (CHUNK, 1)))
        policy.gate.set()
        policy.actions = policy.actions * 2
        assert np.array_equal(ask(client, message(2))["actions"], policy.actions)


def test_every_deadline_counts_from_its_own_observation() -> None:
    policy = Gated()
    guards = GuardOptions(no_answer="refuse")
    with running(policy, options(guards, deadline_s=0.4)) as server:
        with session(server.port) as early, session(server.port) as late:
            early.send(pack(message(0)))
            assert policy.entered.wait(20)
            time.sleep(0.1)
            late.send(pack(message(1)))
            for client in (early, late):  # one is inside the policy, the other waits
                assert client.recv(10) == "deadline: the policy had no answer within 0.4 s"
        policy.gate.set()
        with session(server.port) as client:
            assert ask(client, message(2))["held"] is False
    assert [len(batch) for batch in policy.batches] == [1, 1]  # what was too late is not asked for


def test_a_bad_observation_does_not_spoil_its_batch() -> None:
    gate, policy = Gated(), Faulty()
    inside = gate.act
    gate.act = lambda observations: (inside(observations), policy.act(observations))[1]  # type: ignore[method-assign]
    with running(gate, options()) as server:
        answers = ask_together(server, gate, ["first", "good", "fail", "good"])
        assert [isinstance(answer, str) for answer in answers] == [False, False, True, False]
    assert [len(batch) for batch in gate.batches] == [1, 3, 1, 1, 1]  # tried together, then one by one


def ask_together(server: Any, policy: Gated, prompts: list[str]) -> list[Any]:
    """The first is let into the policy alone; the others wait until they are all there."""
    answers: list[Any] = [None] * len(prompts)

    def one(i: int) -> None:
        with session(server.port) as client:
            answers[i] = ask(client, message(i, prompt=prompts[i]))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(prompts))]
    threads[0].start()
    assert policy.entered.wait(20)
    for waiting, thread in enumerate(threads[1:], start=1):
        thread.start()
        wait_until(lambda n=waiting: server._service.batcher.waiting >= n, "requests wait")
    policy.gate.set()
    for thread in threads:
        thread.join()
    return answers


def test_sessions_are_batched_in_the_order_they_came() -> None:
    policy = Gated()
    with running(policy, options(batch=2)) as server:
        answers = ask_together(server, policy, ["0", "1", "2", "3"])
    assert all(answer["actions"].shape == (CHUNK, 7) for answer in answers)
    assert [[one.instruction for one in batch] for batch in policy.batches] == [["0"], ["1", "2"], ["3"]]


def test_a_full_queue_is_told_at_once() -> None:
    policy = Gated()
    with running(policy, options(queue=1)) as server, session(server.port) as one, session(server.port) as two:
        one.send(pack(message(0)))
        assert policy.entered.wait(20)
        two.send(pack(message(1)))
        wait_until(lambda: server._service.batcher.waiting == 1, "the second waits")
        with session(server.port) as three:
            assert ask(three, message(2)) == "busy: 1 observations are waiting already; ask again in a moment"
            policy.gate.set()
            one.recv(10)
            two.recv(10)
            assert ask(three, message(3))["actions"].shape == (CHUNK, 7)


def test_no_more_sessions_than_allowed() -> None:
    with running(Still(), options(sessions=1)) as server, session(server.port):
        with pytest.raises(InvalidStatus) as refused, session(server.port):
            pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.body.startswith(b"busy: 1 sessions are open already")


def test_silent_and_slow_clients_stall_nobody() -> None:
    with running(Still(), options(idle_s=1.0)) as server:
        half = socket.create_connection(("127.0.0.1", server.port))
        half.sendall(b"GET / HTTP/1.1\r\n")  # and never the rest
        with session(server.port) as silent, session(server.port) as working:
            begun = b"\x02\xff" + (10**5).to_bytes(8, "big")  # the head of a message, and never its body
            silent.socket.sendall(begun)
            answers = 0
            while len(server._sessions) == 2:
                assert ask(working, message(answers))["held"] is False
                answers += 1
                time.sleep(0.01)
            assert answers > 1
            with pytest.raises(ConnectionClosed, match="nothing heard for 1 s"):
                silent.recv(10)
        half.close()


def test_a_client_that_takes_no_answers_is_cut_off() -> None:
    policy = Still()
    policy.chunk = 40_000  # more than the buffers on the way hold
    policy.actions = np.zeros((policy.chunk, 7), np.float32)
    with running(policy, options(stall_s=0.2)) as server:
        with session(server.port, max_queue=1) as deaf, contextlib.suppress(ConnectionClosed):
            for seed in range(12):
                deaf.send(pack(message(seed)))
            wait_until(lambda: not server._sessions, "the session is cut")
        with session(server.port) as working:
            assert ask(working, message())["actions"].shape == (policy.chunk, 7)


def test_a_lost_client_leaves_nothing_behind() -> None:
    policy = Gated()
    with running(policy, options()) as server:
        with session(server.port) as client:
            client.send(pack(message()))
            assert policy.entered.wait(20)
            client.socket.shutdown(socket.SHUT_RDWR)
        policy.gate.set()
        wait_until(lambda: not server._sessions, "the session ends")
        with session(server.port) as other:
            assert ask(other, message())["held"] is False


def test_drains_what_is_in_progress() -> None:
    policy = Gated()
    with running(policy, options()) as server, session(server.port) as busy, session(server.port) as idle:
        busy.send(pack(message()))
        assert policy.entered.wait(20)
        server.stop()
        with pytest.raises(ConnectionClosed, match="shutting down"):
            idle.recv(10)
        with pytest.raises(InvalidStatus) as refused, session(server.port):
            pass
        assert refused.value.response.body.startswith(b"draining")
        policy.gate.set()
        assert msgpack.unpackb(busy.recv(10), strict_map_key=False)["held"] is False
        with pytest.raises(ConnectionClosed, match="shutting down"):
            busy.recv(10)
