from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from serving import Gated, Still, ask, message, observation, options, pack, session, wait_until
from websockets.exceptions import InvalidStatus

from thinkvla.serve.options import ServerOptions
from thinkvla.serve.pages import authorized
from thinkvla.serve.server import running


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def numbers(port: int) -> dict[str, float]:
    """Every sample of /metrics, by name and labels."""
    families = text_string_to_metric_families(get(port, "/metrics")[1].decode())
    return {
        "/".join([sample.name, *(sample.labels[label] for label in sorted(sample.labels))]): sample.value
        for family in families
        for sample in family.samples
    }


def test_health_and_readiness_are_apart() -> None:
    policy = Gated()
    with running(policy, options(deadline_s=0.02)) as server, session(server.port) as client:
        assert get(server.port, "/healthz") == (200, b"OK\n")
        assert get(server.port, "/readyz") == (200, b'{"status": "ok"}\n')
        assert get(server.port, "/nothing")[0] == 404
        client.send(pack(message()))
        wait_until(lambda: get(server.port, "/readyz")[0] == 503, "a stuck policy is not ready")
        assert b"stuck" in get(server.port, "/readyz")[1]
        assert get(server.port, "/healthz")[0] == 200
        policy.gate.set()
        wait_until(lambda: get(server.port, "/readyz")[0] == 200, "it returns")
        server.stop()
        wait_until(lambda: server._draining, "it drains")


def test_draining_is_not_ready() -> None:
    policy = Gated()
    with running(policy, options()) as server, session(server.port) as client:
        client.send(pack(message()))
        assert policy.entered.wait(20)
        server.stop()
        wait_until(lambda: get(server.port, "/readyz")[0] == 503, "it drains")
        assert get(server.port, "/healthz")[0] == 200
        policy.gate.set()


def test_metrics() -> None:
    with running(Still(value=2.0), options()) as server, session(server.port) as client:
        for seed in range(3):
            ask(client, message(seed))
        ask(client, b"\xc1")
        found = numbers(server.port)
    assert found["thinkvla_requests_total/actions/openpi"] == 3
    assert found["thinkvla_requests_total/frame/openpi"] == 1
    assert found["thinkvla_latency_seconds_count/openpi"] == 3
    assert found["thinkvla_batch_size_count"] == found["thinkvla_batch_size_sum"] == 3
    assert found["thinkvla_guards_total/out_of_range/clip"] == 3
    assert found["thinkvla_guards_total/frame/refuse"] == 1
    assert found["thinkvla_sessions"] == 1


def test_a_token_keeps_everybody_else_out(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    basic = "Basic " + base64.b64encode(b"anybody:s3cret").decode()
    with running(Still(), options(token_file=token)) as server:
        for path in ("/", "/live.json", "/metrics", "/nothing"):
            assert get(server.port, path)[0] == 401
            assert get(server.port, path, Authorization="Bearer wrong")[0] == 401
        assert get(server.port, "/metrics", Authorization="Bearer s3cret")[0] == 200
        assert get(server.port, "/", Authorization=basic)[0] == 200
        assert get(server.port, "/healthz")[0] == get(server.port, "/readyz")[0] == 200
        for headers in ({}, {"Authorization": "Api-Key wrong"}):
            with pytest.raises(InvalidStatus), session(server.port, additional_headers=headers):
                pass
        with session(server.port, additional_headers={"Authorization": "Api-Key s3cret"}) as client:
            assert ask(client, message())["held"] is False


def test_ways_to_give_the_token() -> None:
    assert authorized("api-key töken", "töken")
    assert not authorized("Digest token", "token")
    assert not authorized("Basic nonsense!", "token")
    assert not authorized("Basic " + base64.b64encode(b"token").decode(), "token")
    assert not authorized("", "")


def test_other_sites_cannot_use_a_browser_to_come_in() -> None:
    with running(Still(), options()) as server:
        with pytest.raises(InvalidStatus) as refused, session(server.port, origin="http://elsewhere.example"):
            pass
        assert refused.value.response.status_code == 403


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can be reached from other machines"):
        ServerOptions(host="0.0.0.0")
    with pytest.raises(ValueError, match="both --certificate and --key"):
        ServerOptions(key=tmp_path)
    with pytest.raises(ValueError, match="queue is 0; it must be above 0"):
        ServerOptions(queue=0)
    (tmp_path / "empty").touch()
    faulty: tuple[tuple[dict[str, Any], str], ...] = (
        ({"token_file": tmp_path / "none"}, "token_file"),
        ({"token_file": tmp_path / "empty"}, "is empty"),
        ({"certificate": tmp_path / "empty", "key": tmp_path / "empty"}, "certificate"),
    )
    for given, words in faulty:
        with pytest.raises(ValueError, match=words), running(Still(), options(**given)):
            pass


def test_live_numbers_and_pictures() -> None:
    with running(Still(), options()) as server, session(server.port) as client:
        assert json.loads(get(server.port, "/live.json")[1])["latest"] is None
        ask(client, message(4))
        live = json.loads(get(server.port, "/live.json")[1])
        assert live["outcomes"] == {"actions": 1}
        assert set(live["latency_ms"]) == {"p50", "p95", "p99"}
        latest = live["latest"]
        assert np.shape(latest["actions"]) == (8, 7)
        picture = Image.open(io.BytesIO(base64.b64decode(latest["cameras"]["wrist"].split(",")[1])))
        assert np.array_equal(np.asarray(picture), observation(4).images["wrist"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Debian's chromium is not installed")
def test_live_page_in_chromium() -> None:
    """What a client sends is shown as text, and is not run."""
    attack = "<img src=x onerror=\"document.title='run'\">"
    with running(Still(value=2.0), options()) as server, session(server.port) as client:
        ask(client, message(prompt=attack))
        page = _rendered(server.port)
    assert "<title>thinkvla serve</title>" in page
    assert "thinkvla serve: test_arm" in page
    assert page.count('src="data:image/png;base64,') == 2
    assert page.count("<polyline") == 7
    assert "&lt;img src=x onerror" in page
    assert "out_of_range: clip" in page
    assert "p99" in page


def _rendered(port: int) -> str:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    done: Any = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=150)
    page: str = done.stdout
    return page
