"""A soak of the policy server: many requests, many of them broken, and a policy that is often wrong.

python benchmarks/serve_soak.py --requests 20000 --clients 8

Half of the clients speak openpi's protocol and half vla-eval's. They disconnect in the middle of everything, send
malformed and oversized messages and pictures of NaN. Where the policy is wrong, robots (openpi) are held still and
benchmarks (vla-eval) told so. It must not crash, its memory must stay flat, every well-formed
request must be answered or told "busy", and no action may leave its contract. Exit code 1 if one of this fails.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import common
import numpy as np
from dummy_server import CHUNK, STEP_LIMIT, dummy_server, embodiment
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from thinkvla.contract import Actions, check_actions
from thinkvla.progress import progress
from thinkvla.serve.frames import FrameLimits, decode, encode, encode_vla_eval

SIDE = 96
ROBOT = embodiment(SIDE)
FLAT = 0.05
FAULTS = (
    "disconnect before the answer",
    "disconnect in the middle of a message",
    "random bytes",
    "cut off",
    "one byte changed",
    "oversized",
    "nested",
    "text",
    "NaN picture",
    "wrong shape",
    "camera missing",
    "long instruction",
)


class Client(threading.Thread):
    """Sends its share of requests over session after session.

    Args:
        port: of the server.
        number: of the client; odd ones speak vla-eval's protocol.
        requests: to send.
        share: of requests that are broken.
    """

    def __init__(self, port: int, number: int, requests: int, share: float) -> None:
        super().__init__(daemon=True)
        self.port, self.left, self.share = port, requests, share
        self.vla_eval = number % 2 == 1
        self.chance, rng = random.Random(number), np.random.default_rng(number)
        self.pictures = rng.integers(0, 256, (32, SIDE, SIDE, 3), dtype=np.uint8)
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        """All requests."""
        while self.left:
            try:
                with connect(f"ws://127.0.0.1:{self.port}", compression=None, proxy=None, ping_interval=None) as ws:
                    ws.recv(10)
                    self._session(ws)
            except (ConnectionClosed, InvalidHandshake, OSError) as error:
                self.wrong.append(f"a well-formed request or a connection was lost: {error!r}")
                self.left -= 1

    def _session(self, ws: Any) -> None:
        last: NDArray[np.float32] | None = None
        if self.vla_eval:
            ws.send(self._envelope("episode_start", {}))
        while self.left:
            self.left -= 1
            if self.chance.random() < self.share:
                fault = self.chance.choice(FAULTS)
                self.counts[fault] += 1
                if not self._fault(ws, fault):
                    return
                continue
            self.counts["well-formed"] += 1
            started = time.perf_counter()
            ws.send(self._well_formed())
            answer = self._answer(ws.recv(30))
            self.seconds.append(time.perf_counter() - started)
            if isinstance(answer, str):
                code = answer.partition(":")[0]
                self.counts[code] += 1
                if code != "busy" and not (code == "held" and self.vla_eval):
                    self.wrong.append(f"a well-formed request was refused: {answer}")
            else:
                self.counts["answered"] += 1
                last = self._check(answer, last)

    def _check(self, actions: NDArray[np.float32], last: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The executed action; notes what leaves the contract. A step that holds still, all zeros, may come at once."""
        try:
            if actions.dtype != np.float32:
                raise ValueError(f"actions are {actions.dtype}")
            check_actions(actions, ROBOT, "answer")
            if len(actions) != (1 if self.vla_eval else CHUNK):
                raise ValueError(f"{len(actions)} actions")
            steps = actions if last is None else np.concatenate([last[None], actions])
            changes = np.abs(np.diff(steps, axis=0))[steps[1:].any(axis=1)]
            if (changes > STEP_LIMIT + 1e-5).any():
                raise ValueError(f"a step of {changes.max()}")
        except ValueError as error:
            self.wrong.append(f"an action left its contract: {error}")
        first: Actions = actions[0]
        return first  # one of each chunk is executed, so that every observation of either protocol is looked at

    def _fault(self, ws: Any, fault: str) -> bool:
        """Do one thing wrong; returns whether the session can go on."""
        good = self._well_formed()
        if fault == "disconnect before the answer":
            ws.send(good)
            ws.socket.shutdown(socket.SHUT_RDWR)
            return False
        if fault == "disconnect in the middle of a message":
            ws.socket.sendall(b"\x82\xfe\xff\xff" + good[:1000])
            ws.socket.shutdown(socket.SHUT_RDWR)
            return False
        if fault == "oversized":
            with contextlib.suppress(ConnectionClosed, OSError):
                ws.send(bytes(2**20))
                ws.recv(30)
                self.wrong.append("an oversized message was answered")
            return False
        if fault == "text":
            ws.send("text")
        else:
            ws.send(self._broken(fault, good))
        if fault == "one byte changed" and self.vla_eval:
            return False  # it may have become a message that has no answer
        answer = self._answer(ws.recv(30))
        if not isinstance(answer, str) and fault != "one byte changed":
            self.wrong.append(f"{fault}: got actions")
        elif isinstance(answer, str) and "Traceback" in answer:
            self.wrong.append(f"{fault}: got a traceback")
        # Whether the changed byte was one of a picture decides on the next action's step.
        return fault != "one byte changed"

    def _broken(self, fault: str, good: bytes) -> bytes:
        if fault == "random bytes":
            return self.chance.randbytes(self.chance.randrange(1, 5000))
        if fault == "cut off":
            return good[: self.chance.randrange(1, len(good) - 1)]
        if fault == "one byte changed":
            place = self.chance.randrange(len(good))
            return good[:place] + self.chance.randbytes(1) + good[place + 1 :]
        if fault == "nested":
            return b"\x91" * 5000 + b"\x01"
        if fault == "NaN picture":
            return self._well_formed(front=np.full((SIDE, SIDE, 3), np.nan, np.float32))
        if fault == "wrong shape":
            return self._well_formed(front=self.pictures[0][:-1])
        if fault == "camera missing":
            return self._well_formed(front=None)
        return self._well_formed(instruction="x" * 5000)

    def _well_formed(self, instruction: str = "lift it", **changed: Any) -> bytes:
        # Each picture is changed, so that no camera looks frozen.
        front, wrist = (self.chance.choice(self.pictures).copy() for _ in range(2))
        for picture in (front, wrist):
            picture[0, 0] = np.frombuffer(self.chance.randbytes(3), np.uint8)
        images = {"front": front, "wrist": wrist, **changed}
        images = {camera: image for camera, image in images.items() if image is not None}
        if self.vla_eval:
            return self._envelope("observation", {"images": images, "task_description": instruction})
        keys = {"front": "observation/image", "wrist": "observation/wrist_image"}
        return encode({**{keys[camera]: image for camera, image in images.items()}, "prompt": instruction})

    def _envelope(self, kind: str, payload: dict[str, Any]) -> bytes:
        return encode_vla_eval({"type": kind, "payload": payload, "seq": self.left, "timestamp": time.time()})

    def _answer(self, frame: bytes | str) -> Any:
        """Actions (steps, 7), or the words of a refusal."""
        if isinstance(frame, str):
            return frame
        message = decode(frame, FrameLimits())
        if not self.vla_eval:
            return message["actions"]
        payload = message["payload"]
        return payload["error"] if message["type"] == "error" else payload["actions"][None]


def resident(process: int) -> float:
    """Megabytes of a process that are in memory."""
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def soak(requests: int, clients: int, share: float, cost_ms: float) -> dict[str, Any]:
    """All figures of one soak."""
    memory: list[float] = []
    with tempfile.TemporaryFile() as log:
        options = ("--side", str(SIDE), "--cost-ms", str(cost_ms), "--faults", "0.05", "--queue", "4", "--execute", "1")
        with dummy_server(log.fileno(), *options) as (port, process):
            started = time.perf_counter()
            threads = [Client(port, i, requests // clients, share) for i in range(clients)]
            for thread in threads:
                thread.start()
            with progress("requests") as display:
                bar = display.add_task("soaking", total=requests)
                while any(thread.is_alive() for thread in threads):
                    display.update(bar, completed=requests - sum(thread.left for thread in threads))
                    memory.append(resident(process.pid))
                    time.sleep(0.5)
            seconds = time.perf_counter() - started
            alive = process.poll() is None
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                guards = [
                    line for line in page.read().decode().splitlines() if line.startswith("thinkvla_guards_total")
                ]
        log.seek(0)
        errors = log.read().decode().count("by an error of the server")
    wrong = [line for thread in threads for line in thread.wrong]
    # The first half fills caches and pools; then it must stay where it is.
    middle, end = (
        float(np.median(memory[int(len(memory) * a) : int(len(memory) * b)])) for a, b in ((0.5, 0.6), (0.9, 1))
    )
    latency = np.concatenate([thread.seconds for thread in threads]) * 1000
    checks = {
        "no crash": alive and process.returncode == 0 and not errors,
        "memory flat": end <= middle * (1 + FLAT),
        "every well-formed request answered or told busy": not any("well-formed" in line for line in wrong),
        "no action outside its contract": not any("contract" in line for line in wrong),
        "no fault answered with actions or a traceback": not any(
            ": got" in line or "oversized" in line for line in wrong
        ),
    }
    return {
        "requests": requests,
        "clients": clients,
        "seconds": round(seconds, 1),
        "counts": dict(sum((thread.counts for thread in threads), Counter())),
        "guards": {line.split("{")[1].split("}")[0]: float(line.split()[-1]) for line in guards},
        "latency_ms": {f"p{q}": round(float(np.percentile(latency, q)), 2) for q in (50, 95, 99)},
        "memory_mb": {"first": round(memory[0], 1), "middle": round(middle, 1), "end": round(end, 1)},
        "checks": checks,
        "wrong": wrong[:20],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--share", type=float, default=0.15)
    parser.add_argument("--cost-ms", type=float, default=2.0)
    given = parser.parse_args()
    figures = soak(given.requests, given.clients, given.share, given.cost_ms)
    common.write("serve_soak", figures)
    sys.exit(0 if all(figures["checks"].values()) else 1)
