from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import SMALL, build

from thinkvla.checkpoint import save_checkpoint
from thinkvla.diagnose.common import DiagnoseOptions
from thinkvla.diagnose.geometry import Basis, diagnose_geometry
from thinkvla.evaluate.diagnosis import Diagnosis


def test_basis_holds_the_directions_of_most_variance() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, 50, 12)).astype(np.float32)
    basis = Basis(features)
    directions = features.reshape(-1, 12).astype(np.float64)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    variances = np.linalg.eigvalsh(np.cov(directions.T))[::-1][:3]
    placed = (directions - directions.mean(0)) @ basis.components.T
    np.testing.assert_allclose(placed.var(axis=0, ddof=1), variances, rtol=1e-3)
    colours = basis.colours(features)
    assert colours.shape == (4, 50, 3)
    assert ((colours >= 0) & (colours <= 1)).mean() == pytest.approx(0.96, abs=0.01)
    np.testing.assert_allclose(basis.colours(3 * features), colours, atol=1e-5)
    np.testing.assert_allclose(Basis(features[::-1]).colours(features), colours, atol=1e-3)


def test_command_writes_pictures_and_numbers(thinking: Path, tmp_path: Path) -> None:
    output = tmp_path / "geometry"
    result = diagnose_geometry(DiagnoseOptions((str(thinking),), output, observations=3))
    assert Diagnosis.load(output) == result
    untrained, constant = result.numbers["thinking (R7)"], result.numbers["without looking"]
    assert abs(untrained["cosine to teacher"] or 1) < 0.3, "random features point anywhere"
    assert 0.7 < (constant["cosine to teacher"] or 0) < 1, "the table is where it always is"
    assert constant["cosine to teacher"] == pytest.approx(
        ((constant["in front"] or 0) + (constant["in wrist"] or 0)) / 2
    )
    assert [picture.file for picture in result.pictures] == [f"geometry-{i}.png" for i in range(3)]
    assert all((output / picture.file).stat().st_size > 10_000 for picture in result.pictures)


def test_policies_that_have_no_such_features_are_named(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plain/policy: the policy has no geometry adapter"):
        diagnose_geometry(DiagnoseOptions((str(plain),), tmp_path / "out", observations=1))
    other = tmp_path / "other"
    save_checkpoint(other, *build(SMALL))
    with pytest.raises(ValueError, match=r"other: method.geometry_dim is 24, but the simulator teacher gives 48"):
        diagnose_geometry(DiagnoseOptions((str(other),), tmp_path / "out", observations=1))
    with pytest.raises(ValueError, match="no checkpoint is given"):
        diagnose_geometry(DiagnoseOptions((), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
