"""The simulator teacher's codes against a float64 reference, and the kernel that its docstring promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thinkvla.points import LONGEST, SHORTEST, WAVELENGTHS
from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.teachers.simulator import SimulatorTeacher

LENGTHS = [SHORTEST * (LONGEST / SHORTEST) ** (k / (WAVELENGTHS - 1)) for k in range(WAVELENGTHS)]
coordinate = st.floats(-1, 1, width=16)
point = st.tuples(coordinate, coordinate, coordinate)


def reference_code(xyz: tuple[float, float, float]) -> list[float]:
    """One point's code in plain Python floats."""
    return [wave(2 * math.pi * value / length) for value in xyz for wave in (math.sin, math.cos) for length in LENGTHS]


def test_features_match_a_float64_reference() -> None:
    teacher: GeometryTeacher = SimulatorTeacher()
    points = np.random.default_rng(0).uniform(-1, 1, (2, 2, 24, 24, 3)).astype(np.float16)
    features = teacher.features(torch.from_numpy(points))
    assert features.shape == (2, 2, *teacher.grid, teacher.dim) == (2, 2, 8, 8, 48)
    assert features.dtype == torch.float32
    for batch, view, row, column in ((0, 0, 0, 0), (1, 0, 3, 7), (0, 1, 7, 4)):
        patch = points[batch, view, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].reshape(9, 3)
        codes = [reference_code((float(x), float(y), float(z))) for x, y, z in patch]
        np.testing.assert_allclose(features[batch, view, row, column], np.mean(codes, axis=0), atol=2e-5)


def one_point(xyz: tuple[float, float, float]) -> torch.Tensor:
    return SimulatorTeacher((1, 1)).features(torch.tensor(xyz).view(1, 1, 1, 1, 3)).flatten()


@given(point, point)
def test_similarity_is_a_kernel_of_the_offset(a: tuple[float, float, float], b: tuple[float, float, float]) -> None:
    expected = np.mean(
        [math.cos(2 * math.pi * (p - q) / length) for p, q in zip(a, b, strict=True) for length in LENGTHS]
    )
    found = torch.cosine_similarity(one_point(a), one_point(b), dim=0)
    assert float(found) == pytest.approx(float(expected), abs=1e-4)


def test_similarity_falls_with_distance_up_to_a_quarter_of_the_longest_wave() -> None:
    origin = one_point((0.4, 0.0, 0.0))
    similar = [
        float(torch.cosine_similarity(origin, one_point((0.4, d, 0.0)), dim=0)) for d in (0, 0.01, 0.03, 0.1, 0.5)
    ]
    assert similar == sorted(similar, reverse=True)
    assert similar[0] == pytest.approx(1)


def test_a_wide_patch_fades_short_wavelengths_only() -> None:
    spread = torch.zeros(1, 1, 2, 2, 3)
    spread[..., 0] = torch.tensor([[0.0, 0.02], [0.0, 0.02]])
    code = SimulatorTeacher((1, 1)).features(spread).view(3, 2, WAVELENGTHS)
    length = code[0].norm(dim=0)
    assert float(length[0]) == pytest.approx(0, abs=1e-5)
    assert float(length[-1]) == pytest.approx(1, abs=1e-3)


def test_input_that_does_not_fit_is_refused() -> None:
    teacher = SimulatorTeacher()
    with pytest.raises(ValueError, match=r"expected floating-point point maps .* torch.uint8"):
        teacher.features(torch.zeros(1, 2, 24, 24, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="do not divide into the grid 8×8"):
        teacher.features(torch.zeros(1, 2, 20, 24, 3))
    assert SimulatorTeacher((6, 6)).fingerprint != teacher.fingerprint
