"""The scoring rules, against answers written by hand."""

from __future__ import annotations

import pytest

from thinkvla.data.spatial_qa import QARow
from thinkvla.evaluate.scoring import best_constant, final_letter, named_things, normalized, position, score

SPATIAL = QARow(
    image=None,
    question="Which object is higher in the 3D world?\nA. red cube\nB. gripper",
    answer=(
        "The 3D location of the red cube is (-0.02, -0.68, 0.85). The 3D location of the gripper is (0.10, -0.40, "
        "0.80). The height of the red cube is -0.68 and of the gripper -0.40. The gripper is higher. Therefore, the "
        "final answer is B."
    ),
    category="height_higher",
    spatial=True,
)


def general(category: str, answer: str) -> QARow:
    return QARow(image=None, question="?", answer=answer, category=category, spatial=False)


@pytest.mark.parametrize(
    ("said", "right", "concluded"),
    [
        ("The gripper is higher. Therefore, the final answer is B.", True, True),
        ("Therefore, the final answer is B", True, True),
        ("therefore, The Final Answer is b.", True, True),
        ("Therefore, the final answer is A.", False, True),
        ("Therefore, the final answer is D.", False, True),
        ("Therefore, the final answer is A. No. Therefore, the final answer is B.", True, True),
        ("Therefore, the final answer is Ball.", False, False),
        ("Therefore, the final answer is", False, False),
        ("Therefore, the final answer is E.", False, False),
        ("Therefore, the final answer is B.00, 0.00).", False, False),
        ("B", False, False),
        ("The gripper is higher.", False, False),
        ("", False, False),
    ],
)
def test_the_final_letter_decides(said: str, right: bool, concluded: bool) -> None:
    found = score(SPATIAL, said)
    assert (found.right, found.concluded, found.options) == (right, concluded, 2)
    assert (final_letter(said) is not None) is concluded


def test_quoted_locations_are_measured() -> None:
    said = (
        "The 3D location of the red cube is (-0.02, -0.68, 0.81). The 3D location of the gripper is (0.13, -0.40, "
        "0.84). The 3D location of the blue plate is (0.00, 0.00, 0.00). Therefore, the final answer is A."
    )
    assert score(SPATIAL, said).location_errors == pytest.approx((0.04, 0.05))
    assert score(SPATIAL, said).locations == 2
    assert score(SPATIAL, SPATIAL.answer).location_errors == (0.0, 0.0)
    one = score(
        SPATIAL, "The 3D location of the gripper is (0.10, -0.40, 0.70). The 3D location of the red cube is (1, 2"
    )
    assert one.location_errors == pytest.approx((0.1,))
    assert score(SPATIAL, "nothing").location_errors == ()


@pytest.mark.parametrize(
    ("category", "answer", "said", "right"),
    [
        ("colour", "The cube is red.", "the cube is  red", True),
        ("colour", "The cube is red.", "The cube is blue.", False),
        ("colour", "The cube is red.", "red", False),
        ("object", "The green object is the ball.", "The green object is the ball.", True),
        ("presence", "Yes.", "yes", True),
        ("presence", "Yes.", "Yes, it is.", False),
        ("count", "4", "4.", True),
        ("count", "4", "4<|im_start|>", False),
        ("count", "4", "14", False),
        ("left_right", "It is to the left of it.", "It is to the right of it.", False),
        ("above_below", "It is above it.", "It is above it.", True),
        ("grid", "Top left.", "top LEFT", True),
        ("grid", "Top left.", "Left top.", False),
        ("", "A dog on a sofa.", "a dog on a sofa", True),
        ("grid", "Top left.", "", False),
    ],
)
def test_general_answers_must_match(category: str, answer: str, said: str, right: bool) -> None:
    assert score(general(category, answer), said).right is right


def test_two_choices_are_known() -> None:
    assert score(general("presence", "No."), "No.").options == 2
    assert score(general("colour", "The cube is red."), "").options is None


def test_captions() -> None:
    row = general("caption", "The picture shows a red cube, a blue plate and an orange ball.")
    assert named_things(row.answer) == {"red cube", "blue plate", "orange ball"}
    exact = score(row, "The picture shows a red cube, a blue plate and an orange ball.")
    assert (exact.right, exact.recall, exact.precision) == (True, 1.0, 1.0)
    other_order = score(row, "The picture shows an orange ball, a blue plate and a red cube.")
    assert (other_order.right, other_order.recall, other_order.precision) == (False, 1.0, 1.0)
    partly = score(row, "The picture shows a red cube and a green ball.")
    assert (partly.right, partly.precision) == (False, 0.5)
    assert partly.recall == pytest.approx(1 / 3)
    nothing = score(row, "")
    assert (nothing.right, nothing.recall, nothing.precision) == (False, 0.0, 0.0)


@pytest.mark.parametrize(
    ("said", "right", "error"),
    [
        ("37, 62", True, 0.0),
        ("40, 66", True, 5.0),
        ("40, 67", False, pytest.approx(34**0.5)),
        ("37 %, 62 %.", True, 0.0),
        ("37", False, None),
        ("left, top", False, None),
        ("37, 62, 5", False, None),
    ],
)
def test_positions_are_right_within_five_percent(said: str, right: bool, error: float | None) -> None:
    found = score(general("position", "37, 62"), said)
    assert (found.right, found.position_error) == (right, error)


def test_a_truth_that_is_no_position_is_never_right() -> None:
    assert position("top left") is None
    assert position("3, 600000000000") is None
    assert not score(general("position", "top left"), "top left").right


def test_the_best_constant_answer() -> None:
    assert best_constant("count", ["4", "2", "4.", "1"]) == 0.5
    assert best_constant("colour", ["The cube is red.", "The ball is red.", "The car is blue."]) == pytest.approx(2 / 3)
    assert best_constant("position", ["10, 10", "13, 10", "16, 10", "90, 90"]) == 0.75, "13, 10 is near to three"


def test_normalization() -> None:
    assert normalized("  The RED cube,\nhere! ") == "the red cube here"
    assert normalized("Yes.<|action_3|>") != normalized("Yes.")
