from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from question_scenes import camera, front_camera, random_scene, scene, thing, turned

from thinkvla.tabletop.questions.view import may_show, seen_entities, view_axes
from thinkvla.tabletop.state import CameraState, Vector


def heading_reference(view: CameraState, point: Vector) -> list[float]:
    """Left, up and forward of a world point, from the camera's compass heading."""
    ahead = -view.rotation[:, 2]
    heading = np.arctan2(ahead[1], ahead[0])
    x, y, z = point - view.position
    left = -x * np.sin(heading) + y * np.cos(heading)
    forward = x * np.cos(heading) + y * np.sin(heading)
    return [left, z, forward]


@given(st.integers(0, 10_000))
def test_locations_agree_with_the_heading_reference(seed: int) -> None:
    state = random_scene(seed)
    view = state.camera("front")
    for entity in seen_entities(state, "front"):
        position = state.gripper.position if entity.label == "gripper" else state.object(entity.label).position
        np.testing.assert_allclose(entity.location, heading_reference(view, position), atol=1e-12)


def test_known_place() -> None:
    (entity,) = seen_entities(scene(thing("red cube", (0.4, 0.1, 0.02))), "front")
    np.testing.assert_allclose(entity.location, [-0.1, -0.68, 0.9], atol=1e-12)
    assert entity.front is None
    assert entity.left is None


def test_directions_turn_with_the_thing() -> None:
    (entity,) = seen_entities(scene(thing("yellow car", (0.5, 0.0, 0.02), yaw=90.0)), "front")
    assert entity.front is not None
    assert entity.left is not None
    np.testing.assert_allclose(entity.front, [-1.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(entity.left, [0.0, 0.0, 1.0], atol=1e-12)


def test_a_thing_on_its_side_has_no_front_to_ask_about() -> None:
    car = thing("yellow car", (0.5, 0.0, 0.02))
    tipped = replace(car, rotation=np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
    (entity,) = seen_entities(scene(tipped), "front")
    assert entity.front is None


@pytest.mark.parametrize("steep", [0.0, 0.02, 0.2])
def test_looking_down_is_continuous(steep: float) -> None:
    """Straight down, nearly and clearly less: forward stays where the top of the picture points."""
    top = (np.cos(0.7), np.sin(0.7), 0.0)
    place = np.array([0.5, 0.1, 1.0])
    target = place + np.array([steep * top[0], steep * top[1], -1.0])
    axes = view_axes(camera("wrist", place, target, top=top))
    np.testing.assert_allclose(axes[2], top, atol=1e-9)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_looking_up_takes_the_bottom_of_the_picture() -> None:
    axes = view_axes(camera("up", np.zeros(3), np.array([0.0, 0.0, 1.0]), top=(1.0, 0.0, 0.0)))
    np.testing.assert_allclose(axes[2], [-1.0, 0.0, 0.0], atol=1e-12)


def test_only_what_is_in_the_picture_is_seen() -> None:
    state = scene(
        thing("red cube", (0.5, 0.0, 0.02)),
        thing("green ball", (1.31, 0.0, 0.7)),
        thing("blue plate", (2.0, 0.0, 0.02)),
        thing("brown box", (0.5, 1.0, 0.02)),
        thing("white mug", (1.3, 0.5, 0.7)),
    )
    assert [e.label for e in seen_entities(state, "front")] == ["red cube"]


def test_the_gripper_is_seen_too() -> None:
    labels = [e.label for e in seen_entities(scene(gripper=(0.5, 0.0, 0.2)), "front")]
    assert labels == ["gripper"]


def test_may_show() -> None:
    view = front_camera()
    assert may_show(view, thing("red cube", (0.5, 0.0, 0.02)))
    assert not may_show(view, thing("red cube", (0.5, 1.0, 0.02)))
    assert not may_show(view, thing("red cube", (2.0, 0.0, 0.7)))
    around_the_lens = replace(thing("red cube", (1.3, 0.0, 0.7)), half_size=np.full(3, 0.5))
    assert may_show(view, around_the_lens)
    edge = np.tan(np.radians(22.5)) * np.linalg.norm([0.85, 0.7])
    assert may_show(view, thing("red cube", (0.45, edge + 0.01, 0.0)))


def test_quoted_numbers_have_two_decimals() -> None:
    (entity,) = seen_entities(scene(thing("yellow car", (0.512, 0.034, 0.02), yaw=33.0)), "front")
    quoted = entity.quoted()
    assert quoted.front is not None
    np.testing.assert_allclose(quoted.location, [-0.03, -0.68, 0.79], atol=1e-12)
    np.testing.assert_allclose(quoted.front, np.round(-turned(33.0)[[1, 2, 0], 0], 2), atol=1e-12)


def test_an_unknown_camera_is_named() -> None:
    with pytest.raises(KeyError, match=r"no camera 'side'.*front.*wrist"):
        seen_entities(scene(), "side")
