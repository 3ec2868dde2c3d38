from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import EMBODIMENT, SMALL, build

from thinkvla.checkpoint import save_checkpoint
from thinkvla.diagnose.attention import diagnose_attention
from thinkvla.diagnose.common import DiagnoseOptions
from thinkvla.diagnose.geometry import diagnose_geometry
from thinkvla.diagnose.reasoning_gap import diagnose_gap
from thinkvla.method.config import MethodConfig
from thinkvla.points import CODE_SIZE


def cropping(folder: Path) -> None:
    policy, preprocessor = build(replace(SMALL, geometry_dim=48))
    preprocessor.crop = 0.9
    save_checkpoint(folder, policy, preprocessor)


def given_points(folder: Path) -> None:
    method = MethodConfig("none", False, False, False, vision_block=2, geometry_dim=CODE_SIZE, explicit_points=True)
    save_checkpoint(folder, *build(method, embodiment=replace(EMBODIMENT, point_map_size=(24, 24))))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (cropping, r"shown 0\.9 of a view's area \(data\.crop\).*; only policies without crops can be diagnosed"),
        (given_points, r"given true 3D points \(method\.explicit_points\).*; only policies that see images alone"),
    ],
)
def test_policies_that_see_something_else_are_refused(
    tmp_path: Path, write: Callable[[Path], None], words: str
) -> None:
    """By all three, before any scene is rendered."""
    write(tmp_path / "policy")
    options = DiagnoseOptions((str(tmp_path / "policy"),), tmp_path / "out")
    for diagnose in (diagnose_attention, diagnose_geometry, diagnose_gap):
        with pytest.raises(ValueError, match=words):
            diagnose(options)
    assert not options.output.exists()
