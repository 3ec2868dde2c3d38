from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkvla.results.verdict import Share, difference, verdict


def test_intervals_are_newcombes() -> None:
    # Newcombe 1998, table II, method 10: 56/70 − 48/80, 9/10 − 3/10, 6/7 − 2/7, 5/56 − 0/29.
    published = [(56, 70, 48, 80, 0.0524, 0.3339), (9, 10, 3, 10, 0.1705, 0.8090), (6, 7, 2, 7, 0.0582, 0.8062)]
    published.append((5, 56, 0, 29, -0.0381, 0.1926))
    for a, m, b, n, low, high in published:
        found = difference(Share.counted(a, m), Share.counted(b, n))
        assert found == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((77, 100), (61, 100), "above"),
        ((61, 100), (77, 100), "below"),
        ((62, 100), (65, 100), "not distinguishable"),
        ((100, 100), (100, 100), "not distinguishable"),
    ],
)
def test_the_rule(ours: tuple[int, int], theirs: tuple[int, int], expected: str) -> None:
    assert verdict(Share.counted(*ours), Share.counted(*theirs)) == expected


def test_a_published_figure_counts_with_its_episodes() -> None:
    ours = Share.counted(96, 100)
    assert verdict(ours, Share.published(87.5, None)) == "above"
    assert verdict(ours, Share.published(87.5, 24)) == "not distinguishable"
    assert Share.published(98.8, 500).low == pytest.approx(Share.counted(494, 500).low)


def test_no_episodes_have_no_rate() -> None:
    with pytest.raises(ValueError, match="a rate of no episodes"):
        Share.counted(0, 0)


counts = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, counts)
def test_verdicts_mirror_each_other(a: tuple[int, int], b: tuple[int, int]) -> None:
    ours, theirs = Share.counted(*a), Share.counted(*b)
    low, high = difference(ours, theirs)
    assert -1 - 1e-9 <= low <= ours.value - theirs.value <= high <= 1 + 1e-9
    assert difference(theirs, ours) == pytest.approx((-high, -low))
    other = {"above": "below", "below": "above"}
    assert verdict(theirs, ours) == other.get(verdict(ours, theirs), "not distinguishable")
