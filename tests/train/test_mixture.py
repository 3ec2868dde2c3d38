"""The data streams: every sample once an epoch, exact shares, one stream however many processes walk it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thinkvla.train.config import OptimizerConfig, TrainConfig
from thinkvla.train.optimizer import build_optimizer, learning_rate
from thinkvla.train.order import interleaved, shuffled
from thinkvla.train.setup import build_policy, co_training_data, open_episodes


@given(st.integers(1, 50), st.integers(0, 5), st.integers(0, 3))
def test_every_sample_once_an_epoch(length: int, seed: int, epoch: int) -> None:
    found = [shuffled(epoch * length + place, length, seed) for place in range(length)]
    assert sorted(found) == list(range(length))


@given(st.floats(0, 1), st.integers(1, 300))
def test_shares_are_exact_and_places_consecutive(share: float, length: int) -> None:
    drawn = [interleaved(position, share) for position in range(length)]
    for wanted in (True, False):
        places = [place for first, place in drawn if first == wanted]
        assert places == list(range(len(places)))
    assert abs(sum(first for first, _ in drawn) - share * length) < 1 + 1e-6


def test_processes_share_one_stream(small_run: TrainConfig) -> None:
    """Two processes with batches of two hold what one process with batches of four holds."""
    episodes = open_episodes(small_run.data)
    _, preprocessor = build_policy(small_run, episodes)
    halves = [co_training_data(small_run, episodes, preprocessor, (rank, 2))[3] for rank in range(2)]
    large = replace(small_run, batch_size=4, question_batch_size=4)
    whole = co_training_data(large, episodes, preprocessor, (0, 1))[3]
    joined = torch.cat([half.robot.actions_BCA for half in halves])
    assert torch.equal(joined, whole.robot.actions_BCA)


def test_geometry_belongs_to_its_frame(small_run: TrainConfig) -> None:
    """The k-th demonstration of the stream brings the actions and features of one and the same frame."""
    episodes = open_episodes(small_run.data)
    _, preprocessor = build_policy(small_run, episodes)
    data = co_training_data(small_run, episodes, preprocessor, (0, 1))
    batch = data[1].robot
    assert batch.geometry_BVhwG is not None
    for row in range(2):
        source, index = data.robot.place(2 + row)
        assert index == shuffled(2 + row, len(episodes[0]), small_run.seed)
        assert source.geometry is not None
        np.testing.assert_array_equal(batch.geometry_BVhwG[row].numpy(), source.geometry[index])
        actions, padding = source.episodes.actions(index, 8)
        expected = preprocessor.normalizer.normalize(actions)
        np.testing.assert_allclose(batch.actions_BCA[row].numpy(), expected)
        assert batch.valid_BC[row].tolist() == (~padding).tolist()


def test_learning_rate_curve() -> None:
    config = OptimizerConfig(warmup_steps=10, floor_lr=1e-6)
    curve = [learning_rate(step, 110, 1e-3, config) for step in range(110)]
    assert curve[:10] == pytest.approx([1e-4 * (i + 1) for i in range(10)])
    assert curve[10] == pytest.approx(1e-3)
    assert curve[-1] == pytest.approx(1e-6)
    middle = 1e-6 + (1e-3 - 1e-6) * 0.5 * (1 + np.cos(np.pi * 50 / 99))
    assert curve[60] == pytest.approx(middle)
    assert all(a >= b for a, b in pairwise(curve[10:]))


def test_parameter_groups(small_run: TrainConfig) -> None:
    policy, _ = build_policy(small_run, open_episodes(small_run.data))
    optimizer = build_optimizer(policy, OptimizerConfig())
    sizes = {group["peak"]: sum(p.numel() for p in group["params"]) for group in optimizer.param_groups}
    backbone = sum(p.numel() for p in policy.backbone.parameters())  # type: ignore[attr-defined]
    head = sum(p.numel() for p in policy.action_head.parameters())
    total = sum(p.numel() for p in policy.parameters())
    assert sizes == {1e-5: backbone, 2e-4: head, 2.5e-5: total - backbone - head}


def test_warmup_must_fit(small_run: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"warmup_steps is 6, but the run has only 6 steps"):
        replace(small_run, optimizer=OptimizerConfig(warmup_steps=6))
