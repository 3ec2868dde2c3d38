"""The policy server against openpi's public one: the same client, the same machine, a policy that costs the same.

python benchmarks/serve_rival.py websocket_policy_server.py FOLDER

The first argument is openpi's src/openpi/serving/websocket_policy_server.py, the second a folder that holds the package
openpi_client (build/openpi/lib/python3.11/site-packages, after 'make build/openpi'); neither is a part of this project.
The clients are openpi_client's own. Both servers stand at the same time and are asked in turn, round after round. Every
few rounds servers and clients are started afresh: one process is up to a tenth faster than the next one like it.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

SIDE, CHUNK, WARM_UP = 224, 8, 5
# Clients, milliseconds an observation costs, and whether a batch costs as much as one observation.
SCENES = {
    "one client, no cost": (1, 0.0, False),
    "one client, 5 ms": (1, 5.0, False),
    "8 clients, 5 ms each": (8, 5.0, False),
    "8 clients, 5 ms a batch": (8, 5.0, True),
}


def serve_rival(server: str, folder: str, cost_ms: float) -> None:
    """Run openpi's server with a policy like dummy_server's; prints the port."""
    sys.path.append(folder)  # after this environment's own packages
    specification = importlib.util.spec_from_file_location("rival", server)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    numbers = np.random.default_rng(0)

    class Policy:
        def infer(self, observation: dict[str, Any]) -> dict[str, Any]:
            if cost_ms:
                time.sleep(cost_ms / 1000)
            return {"actions": numbers.uniform(-1, 1, (CHUNK, 7)).astype(np.float32)}

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    print(port, flush=True)
    module.WebsocketPolicyServer(Policy(), "127.0.0.1", port).serve_forever()


def client(folder: str, port: int, orders: Connection) -> None:
    """One client process: told a number of requests, it sends them and answers with the seconds of each."""
    sys.path.append(folder)
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    policy = WebsocketClientPolicy("127.0.0.1", port)
    rng = np.random.default_rng(port)
    pictures = rng.integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)
    state = np.zeros(8, np.float32)
    orders.send("ready")
    while requests := orders.recv():
        seconds = []
        for i in range(requests):
            shown = {
                "observation/image": pictures[i % 20],
                "observation/wrist_image": pictures[(i + 7) % 20],
                "observation/state": state,
                "prompt": "put the red cube on the blue plate",
            }
            started = time.perf_counter()
            actions = policy.infer(shown)["actions"]
            seconds.append(time.perf_counter() - started)
            assert actions.shape == (CHUNK, 7)
        orders.send(seconds)


@contextmanager
def clients(count: int, folder: str, port: int) -> Iterator[list[Connection]]:
    """So many client processes of one server."""
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for _ in range(count):
        here, there = context.Pipe()
        process = context.Process(target=client, args=(folder, port, there), daemon=True)
        process.start()
        ends.append(here)
        processes.append(process)
    for end in ends:
        end.recv()
    yield ends
    for end, process in zip(ends, processes, strict=True):
        end.send(0)
        process.join()


@contextmanager
def process_of(*arguments: str) -> Iterator[int]:
    """A server's process; its port."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        wait_for(port)
        yield port
        process.terminate()


def wait_for(port: int) -> None:
    """Until somebody listens."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens at port {port}")


def ask(ends: list[Connection], requests: int) -> tuple[float, list[float]]:
    """Requests a second over all clients, and the seconds of each request."""
    started = time.perf_counter()
    for end in ends:
        end.send(requests)
    seconds = [value for end in ends for value in end.recv()]
    return len(seconds) / (time.perf_counter() - started), seconds


def compare(
    scene: tuple[int, float, bool], starts: int, rounds: int, requests: int, server: str, folder: str
) -> dict[str, Any]:
    """Both servers in one scene, started ``starts`` times; the clients together send ``requests`` to each a round."""
    count, cost_ms, whole_batch = scene
    ours = [str(Path(__file__).with_name("dummy_server.py")), "--cost-ms", str(cost_ms), "--side", str(SIDE)]
    rival = [__file__, server, folder, "--serve", "--cost-ms", str(cost_ms)]
    rates: dict[str, list[float]] = {"ours": [], "openpi": []}
    seconds: dict[str, list[float]] = {"ours": [], "openpi": []}
    for _ in range(starts):
        with ExitStack() as stack:
            ports = {
                "ours": stack.enter_context(process_of(*ours, *(["--whole-batch"] if whole_batch else []))),
                "openpi": stack.enter_context(process_of(*rival)),
            }
            ends = {name: stack.enter_context(clients(count, folder, port)) for name, port in ports.items()}
            for name in ends:
                ask(ends[name], WARM_UP)
            for turn in range(rounds):
                for name in ends if turn % 2 else reversed(ends):
                    rate, took = ask(ends[name], requests // count)
                    rates[name].append(rate)
                    seconds[name] += took
    percentiles = {
        name: {f"p{q}": round(float(np.percentile(values, q)) * 1000, 3) for q in (50, 95, 99)}
        for name, values in seconds.items()
    }
    return {
        "requests_per_second": {name: round(statistics.median(values), 1) for name, values in rates.items()},
        "rate_ours_over_openpi": round(
            statistics.median(a / b for a, b in zip(rates["ours"], rates["openpi"], strict=True)), 3
        ),
        "milliseconds": percentiles,
        "p99_ours_over_openpi": round(percentiles["ours"]["p99"] / percentiles["openpi"]["p99"], 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("client")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--serve", action="store_true", help="be openpi's server; the comparison starts it so")
    parser.add_argument("--cost-ms", type=float, default=0.0)
    given = parser.parse_args()
    if given.serve:
        serve_rival(given.server, given.client, given.cost_ms)
    else:
        import common

        found = {}
        for name, scene in SCENES.items():
            found[name] = compare(scene, given.starts, given.rounds, given.requests, given.server, given.client)
            print(name, found[name], flush=True)
        kept = {"starts": given.starts, "rounds": given.rounds, "requests": given.requests}
        common.write("serve_rival", {"views": f"two of {SIDE}x{SIDE}", **kept, **found})
