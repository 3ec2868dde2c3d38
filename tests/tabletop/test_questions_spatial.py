from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from question_scenes import random_scene, scene, thing

from thinkvla.tabletop.questions import SpatialRow, spatial_rows
from thinkvla.tabletop.questions.categories import CATEGORIES
from thinkvla.tabletop.questions.general import CATEGORIES as GENERAL
from thinkvla.tabletop.state import ObjectState, SceneState, Vector

Asked = dict[tuple[str, ...], str]


def rows_of(state: SceneState, seed: int = 0, camera: str = "front") -> list[SpatialRow]:
    return spatial_rows(state, camera, np.random.default_rng(seed))


def asked(state: SceneState, category: str) -> Asked:
    """What the category asks about over many draws: entities → answer."""
    found: Asked = {}
    for seed in range(60):
        for row in rows_of(state, seed):
            if row.category == category:
                labels = tuple(box["label"] for box in row.bounding_box)
                assert found.setdefault(labels, row.answer_name) == row.answer_name
    return found


CUBE, BALL, PLATE, CAR, MUG = "red cube", "green ball", "blue plate", "yellow car", "white mug"


def pair(a: tuple[float, float, float], b: tuple[float, float, float]) -> SceneState:
    return scene(thing(CUBE, a), thing(BALL, b))


def test_height_higher() -> None:
    assert asked(pair((0.5, 0, 0.02), (0.6, 0, 0.1)), "height_higher") == {
        (CUBE, BALL): BALL,
        (BALL, CUBE): BALL,
    }
    assert asked(pair((0.5, 0, 0.02), (0.6, 0, 0.035)), "height_higher") == {}


def test_height_is_not_height_in_the_picture() -> None:
    """The ball stands higher; the cube, far behind, is higher up in the picture."""
    state = pair((0.3, 0, 0.02), (0.7, 0, 0.06))
    cube, ball = (state.camera("front").project(o.position)[1] for o in state.objects)
    assert cube < ball
    assert set(asked(state, "height_higher").values()) == {BALL}


def test_location_above() -> None:
    assert asked(pair((0.5, 0, 0.02), (0.51, 0, 0.06)), "location_above") == {
        (BALL, CUBE): "yes",
        (CUBE, BALL): "no",
    }
    assert asked(pair((0.5, 0, 0.02), (0.545, 0, 0.06)), "location_above") == {(CUBE, BALL): "no"}
    assert set(asked(pair((0.5, 0, 0.02), (0.7, 0, 0.2)), "location_above").values()) == {"no"}


def test_location_closer_to_camera() -> None:
    assert set(asked(pair((0.4, 0, 0.02), (0.6, 0, 0.02)), "location_closer_to_camera").values()) == {BALL}
    assert asked(pair((0.5, 0.1, 0.02), (0.5, -0.1, 0.02)), "location_closer_to_camera") == {}


def test_location_next_to() -> None:
    near, far = "next to each other", "far away from each other"
    assert set(asked(pair((0.5, 0, 0.02), (0.56, 0, 0.02)), "location_next_to").values()) == {near}
    assert set(asked(pair((0.5, 0, 0.02), (0.5, 0.25, 0.02)), "location_next_to").values()) == {far}
    assert asked(pair((0.5, 0, 0.02), (0.5, 0.13, 0.02)), "location_next_to") == {}


def test_what_rounding_makes_unclear_is_not_asked() -> None:
    """Truly 9.9 cm apart, next to each other; by the rounded locations 11.3 cm, neither near nor far."""
    state = pair((0.4649, 0.0351, 0.02), (0.5351, -0.0351, 0.02))
    assert asked(state, "location_next_to") == {}


def around_a_car(yaw: float) -> SceneState:
    """A car that at yaw 0 faces the camera, the cube before it, the ball behind, the plate on its left."""
    return scene(
        thing(CAR, (0.5, 0, 0.02), yaw),
        thing(CUBE, (0.65, 0, 0.02)),
        thing(BALL, (0.35, 0, 0.02)),
        thing(PLATE, (0.5, 0.2, 0.02)),
    )


def test_orientation_in_front_of() -> None:
    expected = {(CUBE, CAR): "in front of", (BALL, CAR): "behind"}
    assert asked(around_a_car(0), "orientation_in_front_of") == expected
    turned = {(CUBE, CAR): "behind", (BALL, CAR): "in front of"}
    assert asked(around_a_car(180), "orientation_in_front_of") == turned


def test_orientation_on_the_left() -> None:
    assert asked(around_a_car(0), "orientation_on_the_left") == {(PLATE, CAR): "on the left"}
    expected = {(CUBE, CAR): "on the right", (BALL, CAR): "on the left"}
    assert asked(around_a_car(90), "orientation_on_the_left") == expected


@pytest.mark.parametrize(("yaw", "facing"), [(0, "front"), (180, "back"), (90, "right"), (-90, "left")])
def test_orientation_viewpoint(yaw: float, facing: str) -> None:
    assert asked(around_a_car(yaw), "orientation_viewpoint") == {(CAR,): facing}


def test_orientation_viewpoint_abstains_between_two_sides() -> None:
    assert asked(around_a_car(45), "orientation_viewpoint") == {}


def test_multi_object_closer_to() -> None:
    state = scene(thing(CUBE, (0.5, 0, 0.02)), thing(BALL, (0.5, 0.1, 0.02)), thing(PLATE, (0.5, -0.2, 0.02)))
    expected = {
        (CUBE, BALL, PLATE): BALL,
        (CUBE, PLATE, BALL): BALL,
        (BALL, CUBE, PLATE): CUBE,
        (BALL, PLATE, CUBE): CUBE,
        (PLATE, CUBE, BALL): CUBE,
        (PLATE, BALL, CUBE): CUBE,
    }
    assert asked(state, "multi_object_closer_to") == expected


def test_multi_object_facing() -> None:
    groups = [(CAR, CUBE, BALL), (CAR, BALL, CUBE), (CAR, CUBE, PLATE), (CAR, PLATE, CUBE)]
    assert asked(around_a_car(0), "multi_object_facing") == dict.fromkeys(groups, CUBE)


def test_multi_object_viewpoint_towards_object() -> None:
    expected = {(CAR, CUBE): "front", (CAR, BALL): "back", (CAR, PLATE): "left"}
    assert asked(around_a_car(0), "multi_object_viewpoint_towards_object") == expected
    assert asked(around_a_car(180), "multi_object_viewpoint_towards_object")[CAR, PLATE] == "right"


@pytest.mark.parametrize(
    ("yaw", "parallel", "same"),
    [
        (10, "parallel", "same direction"),
        (170, "parallel", "very different directions"),
        (-80, "perpendicular", None),
        (100, "perpendicular", "very different directions"),
        (45, None, None),
    ],
)
def test_two_directions(yaw: float, parallel: str | None, same: str | None) -> None:
    state = scene(thing(CAR, (0.5, 0, 0.02), 30), thing(MUG, (0.5, 0.2, 0.02), 30 + yaw))
    assert set(asked(state, "multi_object_parallel").values()) == ({parallel} - {None})
    assert set(asked(state, "multi_object_same_direction").values()) == ({same} - {None})


def world_answer(category: str, state: SceneState, labels: list[str]) -> str:
    """The answer without margins, from world coordinates only: no view frame, no rounding."""

    def place(label: str) -> Vector:
        return state.gripper.position if label == "gripper" else state.object(label).position

    def angle(of: ObjectState, axis: int, towards: Vector) -> float:
        unit = towards / np.linalg.norm(towards)
        return float(np.degrees(np.arccos(np.clip(of.rotation[:, axis] @ unit, -1, 1))))

    def side(of: ObjectState, towards: Vector) -> str:
        front, left = angle(of, 0, towards), angle(of, 1, towards)
        angles = {"front": front, "back": 180 - front, "left": left, "right": 180 - left}
        return min(angles, key=lambda name: angles[name])

    lens = state.camera("front").position
    places = [place(label) for label in labels]
    first, *others = places
    away = [float(np.linalg.norm(p - first)) for p in others]
    if category == "height_higher":
        return labels[int(np.argmax([p[2] for p in places]))]
    if category == "location_above":
        flat = float(np.linalg.norm((first - others[0])[:2]))
        return "yes" if flat < 0.045 and first[2] > others[0][2] else "no"
    if category == "location_closer_to_camera":
        return labels[int(np.argmin([np.linalg.norm(p - lens) for p in places]))]
    if category == "location_next_to":
        return "next to each other" if away[0] < 0.13 else "far away from each other"
    if category == "orientation_in_front_of":
        return "in front of" if angle(state.object(labels[1]), 0, first - others[0]) < 90 else "behind"
    if category == "orientation_on_the_left":
        return "on the left" if angle(state.object(labels[1]), 1, first - others[0]) < 90 else "on the right"
    if category == "orientation_viewpoint":
        return side(state.object(labels[0]), lens - first)
    if category == "multi_object_closer_to":
        return labels[1 + int(np.argmin(away))]
    if category == "multi_object_facing":
        return labels[1 + int(np.argmin([angle(state.object(labels[0]), 0, p - first) for p in others]))]
    if category == "multi_object_viewpoint_towards_object":
        return side(state.object(labels[0]), others[0] - first)
    between = angle(state.object(labels[0]), 0, state.object(labels[1]).rotation[:, 0])
    if category == "multi_object_parallel":
        return "perpendicular" if 45 < between < 135 else "parallel"
    assert category == "multi_object_same_direction"
    return "same direction" if between < 60 else "very different directions"


def triples(kind: str, text: str) -> dict[str, Vector]:
    """Quoted points or directions of one kind, by label."""
    number = r"(-?\d+\.\d\d)"
    found = re.findall(rf"{kind} of the ([a-z ]+?) is \({number}, {number}, {number}\)", text)
    return {label: np.array([float(x), float(y), float(z)]) for label, x, y, z in found}


def quoted_answer(row: SpatialRow) -> str:
    """The answer that the quoted numbers support; checks that each derived one follows from the others."""
    text, labels = row.answer_cot, [box["label"] for box in row.bounding_box]
    points, fronts, lefts = (triples(k, text) for k in ("location", "front direction", "left direction"))
    derived = [float(n) for n in re.findall(r"-?\d+\.\d\d", re.sub(r"\(.*?\)", "", text))]

    def cosine(u: Vector, v: Vector) -> float:
        return float(u @ v / np.sqrt(u @ u) / np.sqrt(v @ v))

    def follows(*expected: float) -> None:
        np.testing.assert_allclose(derived, expected, atol=0.00501)

    def follows_angle(value: float) -> None:
        np.testing.assert_allclose(derived[0], value, atol=0.00501)
        np.testing.assert_allclose(np.cos(np.radians(derived[1])), derived[0], atol=1e-3)

    def way(start: str, end: Vector) -> Vector:
        vectors = re.findall(r"vector from the ([a-z ]+) to the [a-z ]+ is \(([^)]*)\)", text)
        assert vectors[0][0] == start
        stated = np.array([float(n) for n in vectors[0][1].split(", ")])
        np.testing.assert_allclose(stated, end - points[start], atol=1e-9)
        return stated

    def side(front: float, left: float) -> str:
        if abs(front) > abs(left):
            return "front" if front > 0 else "back"
        return "left" if left > 0 else "right"

    match row.category, labels:
        case "height_higher", [a, b]:
            follows(points[a][1], points[b][1])
            return labels[int(np.argmax(derived))]
        case "location_above", [a, b]:
            x, up, z = points[a] - points[b]
            follows(np.sqrt(x * x + z * z), abs(up))
            higher = "higher" in text.split("meters")[-1]
            assert higher == (up > -1e-9)
            return "yes" if derived[0] <= 0.03 and derived[1] >= 0.02 and higher else "no"
        case "location_closer_to_camera", [a, b]:
            follows(*(float(np.sqrt(points[n] @ points[n])) for n in (a, b)))
            return labels[int(np.argmin(derived))]
        case "location_next_to", [a, b]:
            follows(float(np.linalg.norm(points[a] - points[b])))
            return "next to each other" if derived[0] <= 0.10 else "far away from each other"
        case "orientation_in_front_of", [a, b]:
            follows_angle(cosine(fronts[b], way(b, points[a])))
            return "in front of" if derived[1] < 90 else "behind"
        case "orientation_on_the_left", [a, b]:
            follows_angle(cosine(lefts[b], way(b, points[a])))
            return "on the left" if derived[1] < 90 else "on the right"
        case "multi_object_closer_to", [a, b, c]:
            follows(*(float(np.linalg.norm(points[n] - points[a])) for n in (b, c)))
            return (b, c)[int(np.argmin(derived))]
        case "multi_object_facing", [a, b, c]:
            follows(*(cosine(fronts[a], points[n] - points[a]) for n in (b, c)))
            return (b, c)[int(np.argmax(derived))]
        case (("orientation_viewpoint" | "multi_object_viewpoint_towards_object"), [a, *rest]):
            towards = way(a, points[rest[0]] if rest else np.zeros(3))
            follows(cosine(fronts[a], towards), cosine(lefts[a], towards))
            return side(*derived)
        case "multi_object_parallel", [a, b]:
            follows_angle(cosine(fronts[a], fronts[b]))
            return "perpendicular" if 45 < derived[1] < 135 else "parallel"
        case "multi_object_same_direction", [a, b]:
            follows_angle(cosine(fronts[a], fronts[b]))
            return "same direction" if derived[1] < 60 else "very different directions"
    raise AssertionError(f"unexpected category {row.category}")


@settings(deadline=None)
@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_every_row_is_right_and_says_why(scene_seed: int, seed: int) -> None:
    state = random_scene(scene_seed)
    rows = rows_of(state, seed)
    assert len({row.category for row in rows}) == len(rows)
    for row in rows:
        options = [o for o in (row.A, row.B, row.C, row.D) if o is not None]
        assert len(options) == len(set(options)) in (2, 4)
        assert options["ABCD".index(row.answer)] == row.answer_name
        assert row.answer_cot.endswith(f" Therefore, the final answer is {row.answer}.")
        labels = [box["label"] for box in row.bounding_box]
        assert world_answer(row.category, state, labels) == row.answer_name
        assert quoted_answer(row) == row.answer_name
        assert len(row.answer_cot.split()) <= 90
        assert not re.search(r"nan|inf|None|\{|-0\.00", row.question + row.answer_cot)
        for direction in row.direction:
            np.testing.assert_allclose(np.linalg.norm(direction["front_dir"]), 1)
            assert np.dot(direction["front_dir"], direction["left_dir"]) == pytest.approx(0, abs=1e-9)


def many_rows() -> list[SpatialRow]:
    return [row for seed in range(250) for row in rows_of(random_scene(seed), seed)]


def test_positions_answers_and_wordings_are_balanced() -> None:
    rows = many_rows()
    assert {row.category for row in rows} == {category.name for category in CATEGORIES}
    two = Counter(row.answer for row in rows if row.C is None)
    assert abs(two["A"] / two.total() - 0.5) < 0.05
    four = Counter(row.answer for row in rows if row.C is not None)
    assert all(abs(four[letter] / four.total() - 0.25) < 0.08 for letter in "ABCD")
    for category in CATEGORIES:
        mine = [row for row in rows if row.category == category.name]
        templates = {re.sub("|".join(b["label"] for b in r.bounding_box), "_", r.question) for r in mine}
        assert len(templates) == len(category.questions) >= 3
        first_named = Counter(row.answer_name == row.bounding_box[0]["label"] for row in mine)
        if category.name in ("height_higher", "location_closer_to_camera"):
            assert abs(first_named[True] / len(mine) - 0.5) < 0.1


def test_text_is_short_and_its_vocabulary_small() -> None:
    rows = many_rows()
    lengths = [len(row.answer_cot.split()) for row in rows]
    assert np.mean(lengths) < 65
    words = {w for row in rows for w in re.findall("[a-zA-Z]+", row.question + " " + row.answer_cot)}
    assert len(words) < 150


def test_same_generator_same_rows() -> None:
    state = random_scene(5)
    assert rows_of(state, 3) == rows_of(state, 3)
    assert any(a != b for a, b in pairwise([rows_of(state, seed) for seed in range(4)]))


def test_the_wrist_camera_asks_too() -> None:
    state = scene(thing(CUBE, (0.5, 0.02, 0.02)), thing(BALL, (0.45, -0.03, 0.02)), gripper=(0.5, 0, 0.1))
    (row, *_) = rows_of(state, camera="wrist")
    assert row.category == "height_higher"
    assert row.answer_name == "gripper"


def test_nothing_to_see_nothing_to_ask() -> None:
    assert rows_of(scene()) == []


def test_an_unknown_camera_is_named() -> None:
    with pytest.raises(KeyError, match="no camera 'side'"):
        rows_of(scene(), camera="side")


def test_the_documentation_lists_every_category() -> None:
    page = Path(__file__).parents[2] / "docs" / "questions.md"
    listed = re.findall(r"^\| `(\w+)` \|", page.read_text(), flags=re.MULTILINE)
    assert listed == [category.name for category in CATEGORIES] + list(GENERAL)
