from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tiny_models import EMBODIMENT

from thinkvla.contract import ActionChunk, ContractError
from thinkvla.serve.action_guard import ActionGuard
from thinkvla.serve.faults import Refused
from thinkvla.serve.options import GuardOptions

LAST = np.array([0.1, 0.2, 0.3, 0, 0, 0, 0.9], np.float32)
GOOD = np.full((8, 7), 0.25, np.float32)


def guard(**given: Any) -> ActionGuard:
    return ActionGuard(EMBODIMENT, GuardOptions(**given))


def with_value(step: int, dimension: int, value: float) -> NDArray[np.float32]:
    actions = GOOD.copy()
    actions[step, dimension] = value
    return actions


def test_good_actions_pass_untouched() -> None:
    found = guard(step_limits={"x": 0.5}).check(GOOD, LAST)
    assert found.actions is GOOD
    assert found.guards == {}
    assert found.held_from == 8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_holds_from_there(value: float) -> None:
    found = guard().check(with_value(3, 2, value), LAST)
    assert np.array_equal(found.actions[:3], GOOD[:3])
    # Movements are zero, the gripper keeps what it had in the step before.
    assert np.array_equal(found.actions[3:], np.tile(np.array([0, 0, 0, 0, 0, 0, 0.25], np.float32), (5, 1)))
    assert found.guards == {"not_finite": "hold"}
    assert found.held_from == 3


def test_first_step_holds_what_was_executed_last() -> None:
    assert np.array_equal(guard().check(with_value(0, 0, np.nan), LAST).actions[0], [0, 0, 0, 0, 0, 0, LAST[6]])
    with pytest.raises(Refused, match=r"nothing_to_hold.*gripper"):
        guard().check(with_value(0, 0, np.nan), None)
    still = guard(hold={"gripper": "zero"}).check(with_value(0, 0, np.nan), None)
    assert not still.actions.any()


def test_out_of_range_is_clipped_held_or_refused() -> None:
    wild = with_value(2, 1, 1.5)
    clipped = guard().check(wild, LAST)
    assert np.array_equal(clipped.actions, with_value(2, 1, 1.0))
    assert (clipped.guards, clipped.held_from) == ({"out_of_range": "clip"}, 8)
    held = guard(out_of_range="hold").check(wild, LAST)
    assert np.array_equal(held.actions[:2], GOOD[:2])
    assert not held.actions[2:, :6].any()
    assert (held.guards, held.held_from) == ({"out_of_range": "hold"}, 2)
    with pytest.raises(Refused, match=r"out_of_range: .*step 2, 'y' is 1.5, outside \[-1, 1\]"):
        guard(out_of_range="refuse").check(wild, LAST)
    with pytest.raises(Refused, match=r"not_finite: .*step 2, 'y' is nan"):
        guard(not_finite="refuse").check(with_value(2, 1, np.nan), LAST)


def test_step_limit_is_clipped_held_or_refused() -> None:
    jump = GOOD.copy()
    jump[4:, 0] = 0.85
    clipped = guard(step_limits={"x": 0.25}).check(jump, None)
    assert np.allclose(clipped.actions[:, 0], [0.25, 0.25, 0.25, 0.25, 0.5, 0.75, 0.85, 0.85])
    assert np.array_equal(clipped.actions[:, 1:], jump[:, 1:])
    assert clipped.guards == {"step_limit": "clip"}
    held = guard(step_limits={"x": 0.25}, step_limit="hold").check(jump, None)
    assert not held.actions[4:, :6].any()
    assert held.held_from == 4
    with pytest.raises(Refused, match=r"step_limit: .*step 4, 'x' changes by 0.6, more than 0.25"):
        guard(step_limits={"x": 0.25}, step_limit="refuse").check(jump, None)


def test_step_limit_holds_across_the_seam() -> None:
    found = guard(step_limits={"gripper": 0.1}).check(GOOD, LAST)
    assert np.allclose(found.actions[:, 6], [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.25])


def test_holding_is_exempt_from_step_limits() -> None:
    found = guard(step_limits={"x": 0.01}).check(with_value(1, 1, np.nan), GOOD[0])
    assert found.guards == {"not_finite": "hold"}
    assert found.actions[1, 0] == 0


@given(
    hnp.arrays(np.float32, (8, 7), elements=st.floats(width=32)),
    st.none() | hnp.arrays(np.float32, 7, elements=st.floats(-1, 1, width=32)),
    st.sampled_from(["hold", "refuse"]),
    st.sampled_from(["clip", "hold", "refuse"]),
    st.sampled_from(["clip", "hold", "refuse"]),
)
@settings(max_examples=50, deadline=None)
def test_whatever_the_policy_says_is_safe(actions: Any, last: Any, not_finite: Any, out: Any, step: Any) -> None:
    limits = {"x": 0.125, "rz": 0.5, "gripper": 0.25}
    checker = guard(not_finite=not_finite, out_of_range=out, step_limit=step, step_limits=limits)
    try:
        found = checker.check(actions, last)
    except Refused:
        return
    ActionChunk(found.actions).check(EMBODIMENT)
    assert found.actions.dtype == np.float32
    moving = found.actions[: found.held_from]
    before = moving[:1] if last is None else last[None]
    changes = np.abs(np.diff(np.concatenate([before, moving]), axis=0))
    assert (changes <= checker.limits * (1 + 1e-5) + 1e-6).all()
    assert not found.actions[found.held_from :, :6].any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"step_limits": {"yaw": 0.1}}, r"guards.step_limits: \['yaw'\] are no action dimensions"),
        ({"hold": {"yaw": "last"}}, r"guards.hold: \['yaw'\] are no action dimensions"),
        ({"step_limits": {"x": 0.0}}, "must be above 0"),
    ],
)
def test_wrong_options(given: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        guard(**given)


def test_zero_must_be_a_value_to_hold() -> None:
    absolute = replace(EMBODIMENT, action_low=(0.1, *EMBODIMENT.action_low[1:]))
    with pytest.raises(ContractError, match="'x' would be held by a zero, which is outside its range"):
        ActionGuard(absolute, GuardOptions())
    held = ActionGuard(absolute, GuardOptions(hold={"x": "last"})).hold(LAST, 2)
    assert np.array_equal(held, np.tile(np.array([0.1, 0, 0, 0, 0, 0, 0.9], np.float32), (2, 1)))
