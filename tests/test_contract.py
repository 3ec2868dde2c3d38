"""What crosses a border is checked there, and the error names the field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import EMBODIMENT, observation

from thinkvla.contract import ActionChunk, ContractError, Embodiment, Observation


def changed(**images: Any) -> Observation:
    good = dict(observation("lift it").images)
    return Observation({k: v for k, v in (good | images).items() if v is not None}, "lift it")


def test_good_observation() -> None:
    changed().check(EMBODIMENT)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"wrist": None}, r"camera 'wrist' is missing \(got \['front'\]\).*needs \['front', 'wrist'\]"),
        ({"top": np.zeros((96, 96, 3), np.uint8)}, r"unknown cameras \['top'\]"),
        (
            {"front": np.zeros((64, 96, 3), np.uint8)},
            r"images\['front'\]: expected shape \(96, 96, 3\).*got \(64, 96, 3\)",
        ),
        ({"front": np.zeros((96, 96), np.uint8)}, r"got \(96, 96\)"),
        ({"front": np.zeros((96, 96, 3), np.float32)}, r"expected a uint8 array in 0..255, got float32"),
        ({"front": "picture.png"}, r"got str"),
    ],
)
def test_bad_images(images: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        changed(**images).check(EMBODIMENT)


def test_empty_instruction() -> None:
    with pytest.raises(ContractError, match=r"observation.instruction is empty"):
        Observation(changed().images, "  ").check(EMBODIMENT)


@given(st.integers(0, 7), st.integers(0, 6), st.sampled_from([np.nan, np.inf, 1.01, -1.5]))
def test_bad_action_is_named(step: int, dim: int, value: float) -> None:
    actions = np.zeros((8, 7), np.float32)
    actions[step, dim] = value
    with pytest.raises(ContractError, match=f"step {step}, '{EMBODIMENT.action_names[dim]}' is"):
        ActionChunk(actions).check(EMBODIMENT)


@pytest.mark.parametrize("shape", [(8, 6), (7,), (1, 8, 7)])
def test_action_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ContractError, match=r"expected shape \(steps, 7\)"):
        ActionChunk(np.zeros(shape, np.float32)).check(EMBODIMENT)


def test_embodiment_round_trip() -> None:
    values = EMBODIMENT.to_dict()
    assert Embodiment.from_dict(values) == EMBODIMENT
    for wrong in (values | {"arms": 2}, {k: v for k, v in values.items() if k != "cameras"}):
        with pytest.raises(ContractError, match=r"\['(arms|cameras)'\] are missing or unknown"):
            Embodiment.from_dict(wrong)


WITH_POINTS = replace(EMBODIMENT, point_map_size=(24, 24))


def with_maps(**maps: Any) -> Observation:
    good: dict[str, Any] = {camera: np.zeros((24, 24, 3), np.float32) for camera in EMBODIMENT.cameras}
    kept = {camera: points for camera, points in (good | maps).items() if points is not None}
    return replace(observation("lift it"), point_maps=kept)


def test_good_point_maps() -> None:
    with_maps().check(WITH_POINTS)
    assert Embodiment.from_dict(WITH_POINTS.to_dict()) == WITH_POINTS
    assert "point_map_size" not in EMBODIMENT.to_dict()


def test_point_maps_are_for_embodiments_that_have_them() -> None:
    with pytest.raises(ContractError, match="embodiment 'test_arm' has none; leave them out"):
        with_maps().check(EMBODIMENT)
    with pytest.raises(ContractError, match=r"expected one for each of \['front', 'wrist'\].*got None"):
        observation("lift it").check(WITH_POINTS)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({"wrist": None}, r"expected one for each of .*got \['front'\]"),
        ({"top": np.zeros((24, 24, 3), np.float32)}, r"got \['front', 'top', 'wrist'\]"),
        ({"front": np.zeros((24, 24, 3))}, r"\['front'\]: expected a float32 array \(24, 24, 3\).*got float64"),
        ({"front": np.zeros((8, 24, 3), np.float32)}, r"got float32 \(8, 24, 3\)"),
        ({"front": [0.0]}, "got list"),
        ({"front": np.full((24, 24, 3), np.nan, np.float32)}, "a point is not finite"),
    ],
)
def test_bad_point_maps(maps: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        with_maps(**maps).check(WITH_POINTS)
