"""Delays in simulated time: who holds how long, and no delay is no change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from thinkvla.contract import ActionChunk, Observation
from thinkvla.robot.scheduler import ChunkScheduler, Mode
from thinkvla.robot.simulated import run_delayed
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.expert import Expert
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.world import World

SEED = 50_000
TASK = suite("object")[0]
SMALL = (16, 16)  # nobody looks at the images here


class Still:
    """Never moves; counts how often it was asked."""

    embodiment = TABLETOP
    chunk = 8

    def __init__(self) -> None:
        self.asked = 0

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        self.asked += 1
        return [ActionChunk(np.zeros((8, 7), np.float32)) for _ in observations]


class Teacher:
    """The expert with its eyes on the truth, one action repeated: good enough without a delay."""

    embodiment = TABLETOP
    chunk = 2

    def __init__(self, world: World) -> None:
        self._world = world

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        action = Expert(self._world.scene).act(self._world.state())
        return [ActionChunk(np.stack([action, action]))]


@pytest.mark.parametrize(
    ("mode", "delay", "held", "actions", "chunks"),
    [
        ("synchronous", 0, 0, 20, 10),
        ("synchronous", 50, 8 * 50, 16, 8),  # 50 ms of holding and two actions each, two seconds in all
        ("synchronous", 300, 4 * 300, 8, 4),
        ("switch", 200, 200, 18, 9),  # holds for its first chunk alone
        ("switch", 50, 50, 20, 10),
        ("rtc", 300, 300, 17, 6),  # a new chunk every three actions
    ],
)
def test_time_is_counted(mode: Mode, delay: int, held: int, actions: int, chunks: int) -> None:
    policy = Still()
    with World(replace(TASK, max_steps=20), SMALL) as world:
        episode = run_delayed(world, policy, ChunkScheduler(8, mode=mode, execute=2), SEED, delay)
        assert world.time == pytest.approx(episode.milliseconds / 1000, abs=0.0021)
    assert not episode.success
    assert (episode.held_ms, episode.actions, episode.chunks) == (held, actions, chunks)
    assert episode.chunks == policy.asked
    assert 2000 <= episode.milliseconds < 2100


def test_the_expert_succeeds_and_is_repeatable() -> None:
    cases: list[tuple[Mode, int]] = [("synchronous", 0), ("switch", 0), ("synchronous", 100), ("synchronous", 100)]
    with World(TASK, SMALL) as world:
        runs = [
            run_delayed(world, Teacher(world), ChunkScheduler(2, mode=mode, execute=1), SEED, delay)
            for mode, delay in cases
        ]
    assert all(run.success for run in runs)
    assert runs[0] == runs[1], "without a delay nothing is there to switch"
    assert runs[2] == runs[3]
    assert runs[2].held_ms > 0
    assert runs[2].milliseconds > runs[0].milliseconds


def test_a_negative_delay_is_refused() -> None:
    with World(TASK, SMALL) as world, pytest.raises(ValueError, match="delay_ms is -1"):
        run_delayed(world, Still(), ChunkScheduler(8, mode="switch", execute=2), SEED, -1)
