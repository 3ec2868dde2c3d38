"""Demonstrations in LIBERO itself, where its environment is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.validate import validate
from thinkvla.environments.process import problem
from thinkvla.environments.table import find_environment
from thinkvla.simulators.libero.generate import GenerateLiberoOptions, generate_libero

MISSING = problem(find_environment("libero"))
pytestmark = [
    pytest.mark.simulators,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(MISSING is not None, reason=f"environment 'libero' {MISSING}; thinkvla env install libero"),
]


def test_a_demonstration_is_recorded(tmp_path: Path) -> None:
    output = tmp_path / "made"
    made = generate_libero(GenerateLiberoOptions(output, tasks=(1,), episodes=1, workers=1))
    assert validate(output).problems == ()
    episodes = EpisodeDataset(output / "episodes")
    assert list(episodes.instructions) == ["pick up the cream cheese and place it in the basket"]
    assert made["demonstrations"]["frames"] == len(episodes) < 280
    assert set(np.unique(episodes.all_actions[:, 6])) == {0.0, 1.0}
    # The lower edge of the first view shows the floor before the robot, on which its base stands.
    floor = episodes.point_maps(0)[0, 20:, 10:14].astype(np.float32)
    assert np.abs(floor[..., 2]).max() < 0.02
    assert 0.5 < floor[..., 0].min() < floor[..., 0].max() < 1.6
    assert made["questions"]["spatial"]
