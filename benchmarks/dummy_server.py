"""A policy server process whose policy only costs time, and goes wrong as often as it is told to.

python benchmarks/dummy_server.py --cost-ms 2 prints the port and serves until SIGTERM. A soak and a comparison use it.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from thinkvla.contract import ActionChunk, Embodiment, Observation
from thinkvla.serve.options import GuardOptions, ServerOptions
from thinkvla.serve.server import PolicyServer, served_contract

CHUNK = 8
STEP_LIMIT = 0.5
DEADLINE_S = 1.0


def embodiment(side: int) -> Embodiment:
    """Two square views, and seven actions in [−1, 1]."""
    return Embodiment(
        name="dummy",
        cameras=("front", "wrist"),
        image_size=(side, side),
        control_hz=10.0,
        action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
        action_units=("0.05 m",) * 3 + ("0.5 rad",) * 3 + ("open −1, close 1",),
        action_low=(-1.0,) * 7,
        action_high=(1.0,) * 7,
    )


class Dummy:
    """Random chunks in range after some waiting, as for a GPU.

    Args:
        side: pixels of a view.
        cost_s: seconds of one observation.
        whole_batch: a batch costs as much as one observation.
        faults: share of chunks that are NaN, out of range, too short or raise, and, a tenth as often, are late.
    """

    def __init__(self, side: int, cost_s: float, whole_batch: bool, faults: float) -> None:
        self.embodiment, self.chunk = embodiment(side), CHUNK
        self.cost_s, self.whole_batch, self.faults = cost_s, whole_batch, faults
        self.numbers, self.chance = np.random.default_rng(0), random.Random(0)

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk for each observation."""
        if self.cost_s:
            time.sleep(self.cost_s * (1 if self.whole_batch else len(observations)))
        return [ActionChunk(self._chunk()) for _ in observations]

    def _chunk(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        actions = self.numbers.uniform(-1, 1, (CHUNK, 7)).astype(np.float32)
        if self.chance.random() >= self.faults:
            return actions
        kind = self.chance.choice(["nan", "range", "short", "raise"])
        if kind == "nan":
            actions[self.chance.randrange(CHUNK), self.chance.randrange(7)] = np.nan
        elif kind == "range":
            actions *= 100
        elif kind == "short":
            return actions[:3]
        elif self.chance.random() < 0.1:
            time.sleep(DEADLINE_S * 1.2)
        else:
            raise RuntimeError("a fault on purpose")
        return actions


@contextmanager
def dummy_server(log: int, *options: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A process of this file; its port, and the process, which is ended on the way out.

    Args:
        log: file descriptor for its standard error.
        *options: of the command line.
    """
    process = subprocess.Popen([sys.executable, __file__, *options], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--cost-ms", type=float, default=0.0)
    parser.add_argument("--whole-batch", action="store_true")
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--execute", type=int, default=CHUNK)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    policy = Dummy(given.side, given.cost_ms / 1000, given.whole_batch, given.faults)
    limits = dict.fromkeys(policy.embodiment.action_names, STEP_LIMIT) if given.faults else {}
    guards = GuardOptions(step_limits=limits, hold={"gripper": "zero"})
    options = ServerOptions(port=0, deadline_s=DEADLINE_S, queue=given.queue, execute=given.execute, guards=guards)
    server = PolicyServer(policy, served_contract(policy, options), options)
    server.run_to_end(lambda: print(server.port, flush=True))


if __name__ == "__main__":
    main()
