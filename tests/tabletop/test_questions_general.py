from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from question_scenes import camera, random_scene, scene, thing

from thinkvla.tabletop.questions import GeneralRow, general_rows
from thinkvla.tabletop.questions.general import CATEGORIES
from thinkvla.tabletop.state import SceneState


def rows_of(state: SceneState, seed: int = 0, view: str = "front") -> dict[str, GeneralRow]:
    rows = general_rows(state, view, np.random.default_rng(seed))
    found = {row.category: row for row in rows}
    assert len(found) == len(rows)
    return found


def answers(state: SceneState, category: str) -> set[tuple[str, str]]:
    """(What is named in the question, answer) over many draws."""
    found = set()
    for seed in range(60):
        row = rows_of(state, seed).get(category)
        if row is not None:
            names = re.findall(r"[a-z]+ (?:cube|ball|plate|cylinder|car|mug|box)\b", row.question)
            found.add((", ".join(n for n in names if not n.startswith("the")), row.answer))
    return found


def two() -> SceneState:
    """Seen from the front camera the cube is left and far, the ball right and near."""
    return scene(thing("red cube", (0.35, -0.15, 0.02)), thing("green ball", (0.6, 0.15, 0.02)))


def test_names() -> None:
    assert {a for _, a in answers(two(), "colour")} == {"The cube is red.", "The ball is green."}
    assert {a for _, a in answers(two(), "object")} == {
        "The red object is the cube.",
        "The green object is the ball.",
    }


def test_names_are_not_asked_when_they_are_shared() -> None:
    state = scene(thing("red cube", (0.35, 0, 0.02)), thing("blue cube", (0.6, 0, 0.02)), *two().objects[1:])
    assert {a for _, a in answers(state, "colour")} == {"The ball is green."}


def test_presence() -> None:
    assert answers(two(), "presence") == {
        ("red cube", "Yes."),
        ("green ball", "Yes."),
        ("green cube", "No."),
        ("red ball", "No."),
    }


def test_what_is_only_out_of_sight_is_not_denied() -> None:
    state = scene(*two().objects, thing("red ball", (0.5, 2.0, 0.02)))
    assert ("red ball", "No.") not in answers(state, "presence")


def test_counting() -> None:
    asked = {}
    for seed in range(80):
        row = rows_of(scene(*two().objects, thing("red box", (0.5, 0, 0.02))), seed)["count"]
        kind = re.sub(r"How many | are in the picture| do you see|Count the |[?.]", "", row.question)
        asked[kind] = row.answer
    assert asked == {
        "objects": "3",
        "red objects": "2",
        "green objects": "1",
        "cubes": "1",
        "balls": "1",
        "boxes": "1",
    }


def test_what_the_edge_cuts_is_neither_counted_nor_listed() -> None:
    edge = float(np.tan(np.radians(22.5)) * np.hypot(0.85, 0.7))
    state = scene(*two().objects, thing("blue cube", (0.45, edge + 0.005, 0.0)))
    assert "caption" not in rows_of(state)
    for seed in range(40):
        row = rows_of(state, seed)["count"]
        assert "cubes" not in row.question
        assert "objects" not in row.question or re.search("red|green", row.question)


def test_caption_goes_from_left_to_right() -> None:
    assert rows_of(two())["caption"].answer == "The picture shows a red cube and a green ball."
    three = scene(*two().objects, thing("orange plate", (0.5, 0, 0.02)))
    answer = rows_of(three)["caption"].answer
    assert answer == "The picture shows a red cube, an orange plate and a green ball."
    one = scene(two().objects[0])
    assert rows_of(one)["caption"].answer == "The picture shows a red cube."


def test_relations_in_the_picture() -> None:
    assert answers(two(), "left_right") == {
        ("red cube, green ball", "It is to the left of it."),
        ("green ball, red cube", "It is to the right of it."),
    }
    assert answers(two(), "above_below") == {
        ("red cube, green ball", "It is above it."),
        ("green ball, red cube", "It is below it."),
    }
    close = scene(thing("red cube", (0.5, 0, 0.02)), thing("green ball", (0.51, 0.03, 0.02)))
    assert not {"left_right", "above_below"} & set(rows_of(close))


@pytest.mark.parametrize(
    ("place", "part", "percent"),
    [
        ((0.5, 0.5), "Middle centre.", "50, 50"),
        ((0.1, 0.2), "Top left.", "10, 20"),
        ((0.9, 0.5), "Middle right.", "90, 50"),
        ((0.5, 0.875), "Bottom centre.", "50, 88"),
        ((0.34, 0.5), None, "34, 50"),
        ((0.5, 0.7), None, "50, 70"),
    ],
)
def test_places(place: tuple[float, float], part: str | None, percent: str) -> None:
    """A camera one metre above, whose picture is one metre wide and high: places are metres from a corner."""
    down = camera("front", np.array([0, 0, 1.0]), np.zeros(3), 2 * np.degrees(np.arctan(0.5)), (1.0, 0, 0))
    column, row = place
    state = scene(thing("red cube", (0.5 - row, 0.5 - column, 0.0)))
    state = replace(state, cameras=(down,))
    rows = rows_of(state)
    assert rows["position"].answer == percent
    assert (rows["grid"].answer if "grid" in rows else None) == part


@settings(deadline=None)
@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_rows_are_pictures_only(scene_seed: int, seed: int) -> None:
    state = random_scene(scene_seed)
    for category, row in rows_of(state, seed).items():
        text = f"{row.question} {row.answer}"
        assert category in CATEGORIES
        assert not re.search(r"meter|metre|3D|camera|closer|behind|depth|\d\.\d|nan|None", text)
        assert len(text.split()) <= 45
        if category == "position":
            name = next(o.name for o in state.objects if o.name in row.question)
            column, pixel_row, _ = state.camera("front").project(state.object(name).position)
            stated = [int(n) for n in row.answer.split(", ")]
            np.testing.assert_allclose(stated, [column / 0.96, pixel_row / 0.96], atol=0.501)
        if category == "presence":
            exists = any(o.name in row.question for o in state.objects)
            assert (row.answer == "Yes.") == exists


def test_answers_are_balanced() -> None:
    rows = [row for seed in range(250) for row in rows_of(random_scene(seed), seed).values()]
    assert {row.category for row in rows} == set(CATEGORIES)
    for category in ("left_right", "above_below", "presence"):
        counts = Counter(row.answer for row in rows if row.category == category)
        assert len(counts) == 2
        assert max(counts.values()) / counts.total() < 0.62


def test_same_generator_same_rows() -> None:
    assert rows_of(two(), 7) == rows_of(two(), 7)
    assert rows_of(two(), 7) != rows_of(two(), 8)


def test_nothing_to_see_nothing_to_ask() -> None:
    assert rows_of(scene(gripper=(0.5, 0, 0.2))) == {}


def test_an_unknown_camera_is_named() -> None:
    with pytest.raises(KeyError, match=r"no camera 'side'.*front.*wrist"):
        rows_of(two(), view="side")
