from __future__ import annotations

import pytest

from thinkvla.evaluate.names import policy_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/plain/policy", "runs/full/policy", "expert"], ["plain", "full", "expert"]),
        (["/a/runs/plain/checkpoints/step-000500", "tabletop_r7"], ["plain/step-000500", "tabletop_r7"]),
        (["a/runs/plain/policy", "b/runs/plain/policy"], ["a/plain", "b/plain"]),
        (["plain/policy", "plain/checkpoints"], ["plain/policy", "plain/checkpoints"]),
        (["policy"], ["policy"]),
        ([], []),
    ],
)
def test_names_are_short_and_different(paths: list[str], names: list[str]) -> None:
    assert list(policy_names(paths).items()) == list(zip(paths, names, strict=True))
