from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from serving import Gated, Still, observation, options, pack
from tiny_models import EMBODIMENT
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from thinkvla.contract import ContractError
from thinkvla.serve.client import PolicyClient
from thinkvla.serve.faults import Refused
from thinkvla.serve.options import GuardOptions
from thinkvla.serve.server import running


def test_acts() -> None:
    policy = Still()
    limits = GuardOptions(step_limits={"x": 0.125})
    with (
        running(policy, options(limits, keys={"front": "cam"})) as server,
        PolicyClient(f"ws://127.0.0.1:{server.port}", embodiment=EMBODIMENT) as client,
    ):
        assert client.embodiment == EMBODIMENT
        assert client.chunk == 8
        assert client.metadata["guards"]["step_limits"] == {"x": 0.125}
        answer = client.act(observation(1), timestamp=time.time())
        assert np.array_equal(answer.chunk.actions, policy.actions)
        assert (answer.held, answer.guards) == (False, {})
        answer = client.act(observation(2), timestamp=time.time(), last_action=np.zeros(7, np.float32))
        assert np.array_equal(answer.chunk.actions[:3, 0], [0.125, 0.25, 0.25])
        assert answer.guards == {"step_limit": "clip"}
        with pytest.raises(Refused, match="stale") as refused:
            client.act(observation(3), timestamp=time.time() - 9)
        assert refused.value.code == "stale"
        [[seen], _] = policy.batches
        assert all(np.array_equal(seen.images[c], observation(1).images[c]) for c in EMBODIMENT.cameras)


def test_another_embodiment_is_refused_before_the_first_action() -> None:
    other = replace(EMBODIMENT, control_hz=20.0, cameras=("front", "side"))
    with running(Still(), options()) as server, pytest.raises(ContractError) as refused:
        PolicyClient(f"ws://127.0.0.1:{server.port}", embodiment=other)
    assert "cameras: the client has ['front', 'side'], the server ['front', 'wrist']" in str(refused.value)
    assert "control_hz: the client has 20.0, the server 10.0" in str(refused.value)


def test_no_server_and_no_answer() -> None:
    with pytest.raises(ConnectionError, match="is 'thinkvla serve' running there"):
        PolicyClient("ws://127.0.0.1:9", timeout_s=2)
    policy = Gated()
    with running(policy, options()) as server:
        client = PolicyClient(f"ws://127.0.0.1:{server.port}", timeout_s=0.2)
        with pytest.raises(TimeoutError, match=r"no answer within 0.2 s"):
            client.act(observation())
        with pytest.raises(ConnectionError):
            client.act(observation())
        policy.gate.set()


@pytest.mark.parametrize(
    ("greeting", "error", "words"),
    [
        (pack({"action_horizon": 10}), ConnectionError, r"greeting has no 'contract' \(got \['action_horizon'\]\)"),
        (pack([1]), ConnectionError, r"greeting has no 'contract' \(got list\)"),
        ("hello", ConnectionError, "no policy server of thinkvla: hello"),
        (b"\xc1", ConnectionError, "no policy server of thinkvla: "),
        (None, TimeoutError, "no answer within 0.3 s"),
    ],
)
def test_another_kind_of_server(greeting: str | bytes | None, error: type[Exception], words: str) -> None:
    def serve_one(connection: ServerConnection) -> None:
        if greeting is not None:
            connection.send(greeting)
        with contextlib.suppress(ConnectionClosed):
            connection.recv(10)

    with serve(serve_one, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(error, match=words):
                PolicyClient(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", timeout_s=5 if greeting else 0.3)
        finally:
            server.shutdown()
            thread.join()


def test_token_and_tls(tmp_path: Path) -> None:
    certificate, key, token = tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "token"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*make.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    token.write_text("s3cret\n")
    given = options(token_file=token, certificate=certificate, key=key)
    with running(Still(), given) as server:
        url = f"wss://localhost:{server.port}"
        with PolicyClient(url, token="s3cret", certificate=certificate) as client:
            assert client.act(observation()).held is False
        for wrong in (None, "s3cre", "s3crets"):
            with pytest.raises(ConnectionError, match="token: missing or wrong"):
                PolicyClient(url, token=wrong, certificate=certificate)
        with pytest.raises(ConnectionError, match="certificate"):
            PolicyClient(url, token="s3cret")
