from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkvla.evaluate.intervals import wilson

Z = 1.959963984540054


def score_bounds(successes: int, trials: int) -> tuple[float, float]:
    """Where |p̂ − p| = z·sqrt(p (1 − p) / n), found by bisection from the observed rate outwards."""
    rate = successes / trials

    def outside(p: float) -> bool:
        return abs(rate - p) > Z * math.sqrt(p * (1 - p) / trials)

    bounds = []
    for end in (0.0, 1.0):
        near, far = rate, end
        for _ in range(200):
            middle = (near + far) / 2
            near, far = (near, middle) if outside(middle) else (middle, far)
        bounds.append(near)
    return bounds[0], bounds[1]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=6e-5)  # Newcombe 1998, table I


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_solves_the_score_equation(counts: tuple[int, int]) -> None:
    assert wilson(*counts) == pytest.approx(score_bounds(*counts), abs=1e-9)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_holds_the_rate_and_is_symmetric(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low))


def test_no_trials_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0)])
def test_nonsense_is_refused(successes: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="wilson"):
        wilson(successes, trials, confidence)
