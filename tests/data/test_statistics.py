"""Statistics against an independent float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from thinkvla.data.statistics import (
    QUANTILES,
    FeatureStatistics,
    ImageStatistics,
    VectorStatistics,
    check_fresh,
    source_fingerprint,
)

finite = st.floats(-1e3, 1e3, width=32)
vectors = st.integers(1, 30).flatmap(lambda n: arrays(np.float32, (n, 3), elements=finite))
images = st.integers(1, 4).flatmap(lambda n: arrays(np.uint8, (n, 4, 5, 3)))


@given(vectors, st.integers(0, 30))
def test_vectors_match_the_reference_however_they_arrive(values: NDArray[np.float32], split: int) -> None:
    gatherer = VectorStatistics()
    for part in (values[:split], values[split:]):
        if len(part):
            gatherer.add(part)
    result = gatherer.result()
    for dim in range(3):
        column = sorted(float(value) for value in values[:, dim])
        mean = sum(column) / len(column)
        std = (sum((value - mean) ** 2 for value in column) / len(column)) ** 0.5
        assert (result["min"][dim], result["max"][dim]) == (column[0], column[-1])
        assert result["mean"][dim] == pytest.approx(mean, abs=1e-9)
        assert result["std"][dim] == pytest.approx(std, abs=1e-9)
        for name, share in QUANTILES.items():
            place = share * (len(column) - 1)
            below, above = column[int(place)], column[min(int(place) + 1, len(column) - 1)]
            assert result[name][dim] == pytest.approx(below + (above - below) * (place % 1), abs=1e-6)
    assert result.count == len(values)


@given(images)
def test_images_match_the_reference(values: NDArray[np.uint8]) -> None:
    gatherer = ImageStatistics()
    for image in values:
        gatherer.add(image[None])
    result = gatherer.result()
    scaled = values.astype(np.float64).reshape(-1, 3) / 255
    for name, expected in (("min", scaled.min(0)), ("max", scaled.max(0)), ("mean", scaled.mean(0))):
        np.testing.assert_allclose(result[name].ravel(), expected, atol=1e-12)
    np.testing.assert_allclose(result["std"].ravel(), scaled.std(0), atol=1e-12)
    for name, share in QUANTILES.items():
        expected = np.quantile(scaled, share, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(result[name].ravel(), expected, atol=1e-12)
    assert result["mean"].shape == (3, 1, 1)
    assert result.count == len(values)


def test_round_trip_and_an_unknown_statistic() -> None:
    gatherer = VectorStatistics()
    gatherer.add(np.arange(12, dtype=np.float32).reshape(4, 3))
    result = gatherer.result()
    again = FeatureStatistics.from_dict(result.to_dict())
    assert again.count == 4
    for name, value in result.values.items():
        np.testing.assert_array_equal(again[name], value)
    with pytest.raises(ValueError, match="no 'q05'; there are"):
        again["q05"]


@given(vectors)
def test_one_changed_action_makes_statistics_stale(values: NDArray[np.float32]) -> None:
    recorded = source_fingerprint(values)
    check_fresh(recorded, values.copy(order="F"), "here")
    changed = values.copy()
    changed[-1, 0] += 1
    with pytest.raises(ValueError, match="here: the statistics were computed from other actions"):
        check_fresh(recorded, changed, "here")
    with pytest.raises(ValueError, match="other actions"):
        check_fresh(recorded, np.concatenate([values, values]), "here")
