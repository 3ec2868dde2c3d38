"""Which action comes next: exact references, row by row, and what holds for every delay."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkvla.contract import Actions
from thinkvla.robot.scheduler import ChunkScheduler, Mode, ensembled, frozen_weight

C = 8


def chunk(value: float) -> Actions:
    """Row k is [value + k, −value]: it says which chunk and which row it is."""
    return np.array([[value + k, -value] for k in range(C)], np.float32)


def acted(scheduler: ChunkScheduler) -> list[float] | None:
    action = scheduler.next()
    return None if action is None else [float(v) for v in action]


def begun(mode: Mode, execute: int = 2) -> ChunkScheduler:
    """With chunk 100, observed at step 0 and answered at once."""
    scheduler = ChunkScheduler(C, mode=mode, execute=execute)
    assert scheduler.should_ask()
    scheduler.ask()
    scheduler.answer(chunk(100))
    return scheduler


def test_synchronous_waits_and_begins_with_the_first_row() -> None:
    scheduler = begun("synchronous")
    assert [acted(scheduler), acted(scheduler)] == [[100, -100], [101, -100]]
    assert scheduler.should_ask()
    scheduler.ask()
    assert [acted(scheduler) for _ in range(3)] == [None, None, None]
    assert not scheduler.should_ask()
    scheduler.answer(chunk(200))
    assert acted(scheduler) == [200, -200]


def test_switch_skips_the_rows_that_ran_while_the_policy_thought() -> None:
    scheduler = begun("switch")
    acted(scheduler), acted(scheduler)
    scheduler.ask()
    assert [acted(scheduler) for _ in range(3)] == [[102, -100], [103, -100], [104, -100]]
    scheduler.answer(chunk(200))
    assert acted(scheduler) == [203, -200]
    assert scheduler.should_ask(), "three actions since it was asked, and nothing is under way"


def test_a_first_chunk_that_is_waited_for_begins_with_its_first_row() -> None:
    scheduler = ChunkScheduler(C, mode="rtc", execute=2)
    scheduler.ask()
    assert [acted(scheduler), acted(scheduler)] == [None, None]
    scheduler.answer(chunk(300))
    assert acted(scheduler) == [300, -300]


def test_an_answer_later_than_the_chunk_is_long_makes_the_robot_hold() -> None:
    scheduler = begun("switch")
    acted(scheduler), acted(scheduler)
    scheduler.ask()
    assert [acted(scheduler) is None for _ in range(8)] == [False] * 6 + [True] * 2
    scheduler.answer(chunk(200))
    assert acted(scheduler) == [206, -200], "six actions ran since the observation, two steps were held"


def test_ensemble_is_acts_weighted_mean() -> None:
    chunks = [(0, chunk(100)), (2, chunk(200)), (5, chunk(300))]
    for step in range(13):
        rows = [100 + step] * (step < 8) + [200 + step - 2] * (2 <= step < 10) + [300 + step - 5] * (step >= 5)
        weights = [math.exp(-0.3 * i) for i in range(len(rows))]
        expected = math.fsum(w * r for w, r in zip(weights, rows, strict=True)) / math.fsum(weights)
        found = ensembled(chunks, step, decay=0.3)
        assert found is not None
        assert found[0] == pytest.approx(expected, rel=1e-6)
    assert ensembled(chunks, 13) is None


def test_ensemble_uses_only_what_has_arrived() -> None:
    scheduler = begun("ensemble")
    acted(scheduler), acted(scheduler)
    scheduler.ask()
    assert acted(scheduler) == [102, -100]
    scheduler.answer(chunk(200))
    first, second = 1.0, math.exp(-0.01)
    expected = (first * 103 + second * 201) / (first + second)
    assert acted(scheduler)[0] == pytest.approx(expected, rel=1e-6)  # type: ignore[index]


def test_weights_of_real_time_chunking() -> None:
    """H = 8, s = 2, d = 3, computed by the paper's formula with its own letters."""
    horizon, s, d = 8, 2, 3
    for i in range(horizon):
        c = (horizon - s - i) / (horizon - s - d + 1)
        expected = 1.0 if i < d else c * (math.exp(c) - 1) / (math.e - 1) if i < horizon - s else 0.0
        assert frozen_weight(i, d, horizon - s) == pytest.approx(expected, abs=1e-12)
    found = [frozen_weight(i, d, horizon - s) for i in range(horizon)]
    assert found == sorted(found, reverse=True)


def test_rtc_blends_the_overlap_and_leaves_the_rest() -> None:
    scheduler = begun("rtc")
    acted(scheduler), acted(scheduler)
    scheduler.ask()
    assert [acted(scheduler), acted(scheduler)] == [[102, -100], [103, -100]]
    scheduler.answer(chunk(200))
    for row in range(2, C):  # the old chunk ends after row 5 of the new one
        w = frozen_weight(row, delay=2, overlap=6)
        expected = w * (100 + 2 + row) + (1 - w) * (200 + row)
        action = acted(scheduler)
        assert action is not None
        assert action[0] == pytest.approx(expected, rel=1e-6)
    assert acted(scheduler) is None


@settings(deadline=None)
@given(
    st.sampled_from(["synchronous", "switch", "ensemble", "rtc"]),
    st.integers(1, C),
    st.lists(st.integers(0, 12), min_size=1, max_size=20),
)
def test_chunks_that_agree_give_their_own_actions(mode: Mode, execute: int, delays: list[int]) -> None:
    """If every chunk predicts the same path, no delay and no blend changes it; and nobody waits longer than asked."""
    scheduler = ChunkScheduler(C, mode=mode, execute=execute)
    path, holds, asked_at = [], 0, 0
    for delay in delays:
        while not scheduler.should_ask():
            action = scheduler.next()
            assert action is not None
            path.append(float(action[0]))
        scheduler.ask()
        asked_at = scheduler.given
        for _ in range(delay):
            action = scheduler.next()
            if action is None:
                holds += 1
            else:
                path.append(float(action[0]))
        scheduler.answer(np.array([[asked_at + k] for k in range(C)], np.float32))
    assert path == pytest.approx(list(range(len(path))), abs=1e-4)
    assert scheduler.given == len(path)
    if mode == "synchronous":
        assert holds == sum(delays)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"mode is 'blend'; expected one of \['synchronous'"):
        ChunkScheduler(C, mode="blend", execute=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="execute is 9; this policy's chunks allow 1 to 8"):
        ChunkScheduler(C, mode="switch", execute=9)
    scheduler = ChunkScheduler(C, mode="switch", execute=2)
    with pytest.raises(RuntimeError, match="no chunk was asked for"):
        scheduler.answer(chunk(1))
    scheduler.ask()
    with pytest.raises(RuntimeError, match="being inferred already"):
        scheduler.ask()
    with pytest.raises(ValueError, match="a chunk of 3 actions; it promised 8"):
        scheduler.answer(chunk(1)[:3])
