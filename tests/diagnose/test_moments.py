from __future__ import annotations

import numpy as np
import pytest

from thinkvla.diagnose.moments import Moment, moments
from thinkvla.tabletop.embodiment import TABLETOP


def test_moments_are_of_held_out_scenes_and_always_the_same(seen: list[Moment]) -> None:
    assert [moment.seed for moment in seen] == [1_009_000, 1_009_001, 1_009_002]
    assert [moment.step for moment in seen] == [0, 8, 16]
    assert len({moment.task for moment in seen}) == 3
    again = moments("object", 1)[0]
    assert again.origin == seen[0].origin
    for camera in TABLETOP.cameras:
        assert (again.observation.images[camera] == seen[0].observation.images[camera]).all()
    assert (again.points == seen[0].points).all()


def test_the_truth_belongs_to_the_pictures(seen: list[Moment]) -> None:
    for moment in seen:
        moment.observation.check(TABLETOP)
        assert moment.points.shape == (2, 24, 24, 3)
        assert moment.distances.shape == moment.names.shape == (2, 24, 24)
        assert (moment.distances > 0.02).all()
        assert (moment.distances < 3.01).all()
        assert moment.roles["target"] in moment.names
        assert f"{moment.roles['target']} " in moment.observation.instruction
        assert [picture.shape for picture in moment.pictures] == [(192, 192, 3)] * 2
        small = moment.pictures[0].reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
        assert np.abs(small - moment.observation.images["front"]).mean() < 5, "the same view, larger"


@pytest.mark.parametrize(("suite", "count", "words"), [("objekt", 1, "did you mean 'object'"), ("object", 0, "1 to")])
def test_mistakes_are_named(suite: str, count: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        moments(suite, count)
