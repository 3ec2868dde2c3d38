"""Asking held-out questions: what is asked, how answers are counted, and what is written."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from rich.console import Console

from thinkvla.answering import Question
from thinkvla.data.question_writer import write_questions
from thinkvla.data.spatial_qa import QARow
from thinkvla.evaluate import held_out
from thinkvla.evaluate.held_out import HeldOut, held_out_questions
from thinkvla.evaluate.qa import QAOptions, ask, evaluate_model
from thinkvla.evaluate.qa_results import Answer, QARate, QAResult
from thinkvla.evaluate.qa_table import qa_table
from thinkvla.evaluate.scoring import score
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.suites import suite

COUNT = 2


class Stub:
    """Answers by a function of the question, and remembers how many it was asked at once."""

    def __init__(self, answer: Callable[[Question], str]) -> None:
        self._answer = answer
        self.batches: list[int] = []

    def answer(self, questions: Sequence[Question], limit: int) -> list[str]:
        self.batches.append(len(questions))
        return [self._answer(question) for question in questions]


@pytest.fixture(scope="module")
def questions() -> list[HeldOut]:
    return held_out_questions(["object"], COUNT)


@pytest.fixture
def options(tmp_path: Path) -> QAOptions:
    return QAOptions(Path("some/checkpoint"), tmp_path / "results", questions=COUNT, batch=16)


def told(questions: Sequence[HeldOut]) -> Stub:
    """A model that is told the right answers."""
    answers = {(q.row.question, image_bytes(q.row.image)): q.row.answer for q in questions}
    return Stub(lambda question: answers[question.text, image_bytes(question.image)])


def image_bytes(image: np.ndarray | None) -> bytes:
    assert image is not None
    return image.tobytes()


def test_every_category_has_as_many_questions_about_different_scenes(questions: list[HeldOut]) -> None:
    counts = Counter((q.row.spatial, q.row.category) for q in questions)
    assert len(counts) == 21
    assert set(counts.values()) == {COUNT}
    assert sum(spatial for spatial, _ in counts) == 12
    scenes = {(q.row.category, q.origin["seed"]) for q in questions}
    assert len(scenes) == len(questions)
    assert {q.origin["seed"] for q in questions} <= set(seeds("test")[8_000:])
    assert len({q.origin["task"] for q in questions}) > 1


def test_questions_repeat_exactly(questions: list[HeldOut]) -> None:
    again = held_out_questions(["object"], 1)
    first = {(q.row.spatial, q.row.category): q for q in reversed(questions)}  # the first of each category
    for question in again:
        expected = first[question.row.spatial, question.row.category]
        assert question.origin == expected.origin
        assert replace(question.row, image=None) == replace(expected.row, image=None)
        assert image_bytes(question.row.image) == image_bytes(expected.row.image)


def test_suites_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = suite("object")[:2]
    monkeypatch.setattr(held_out, "suite", lambda name: tasks)
    origins = {q.origin["seed"]: (q.origin["suite"], q.origin["task"]) for q in held_out_questions(["one", "two"], 1)}
    first = held_out.SEEDS[0]
    a, b = (task.name for task in tasks)
    expected = {first: ("one", a), first + 1: ("two", a), first + 2: ("one", b), first + 3: ("two", b)}
    assert origins.items() <= expected.items()
    assert len(origins) > 1


def test_a_model_that_is_told_the_truth_is_always_right(questions: list[HeldOut], options: QAOptions) -> None:
    stub = told(questions)
    result = evaluate_model(stub, options, fingerprint="0123")
    assert stub.batches == [16, 16, 10]
    assert {kind: rate.value for kind, rate in result.totals.items()} == {"2d": 1.0, "3d": 1.0}
    assert {kind: rate.questions for kind, rate in result.totals.items()} == {"2d": 9 * COUNT, "3d": 12 * COUNT}
    assert all(rate.right == COUNT for rates in result.categories.values() for rate in rates.values())
    space = result.totals["3d"]
    assert (space.concluded, space.location_error) == (12 * COUNT, 0.0)
    assert space.quoted == space.locations > 0
    picture = result.totals["2d"]
    assert (picture.recall, picture.precision, picture.position_error) == (1.0, 1.0, 0.0)
    assert picture.concluded is None
    assert result.categories["3d"]["orientation_viewpoint"].chance == 0.25
    assert result.categories["2d"]["presence"].chance == 0.5


def test_results_can_be_read_again(questions: list[HeldOut], options: QAOptions) -> None:
    result = evaluate_model(told(questions), options, fingerprint="0123")
    assert QAResult.load(options.output) == result
    values = json.loads((options.output / "qa.json").read_text("utf-8"))
    assert values["format"] == "thinkvla-qa/1"
    assert values["totals"]["3d"]["rate"] == 1.0
    assert values["categories"]["2d"]["grid"]["questions"] == COUNT
    assert (values["options"]["suites"], values["options"]["questions"]) == (["object"], COUNT)
    assert {"thinkvla", "mujoco", "transformers"} <= set(values["versions"])
    for answer, question in zip(result.answers, questions, strict=True):
        assert answer.picture is not None
        with Pillow.open(options.output / answer.picture) as picture:
            assert np.asarray(picture).tobytes() == image_bytes(question.row.image)
    assert len(list((options.output / "pictures").iterdir())) == len({q.origin["seed"] for q in questions})


def test_a_mute_model_is_never_right(questions: list[HeldOut], options: QAOptions) -> None:
    result = evaluate_model(Stub(lambda question: ""), options, fingerprint="0123")
    assert {kind: rate.right for kind, rate in result.totals.items()} == {"2d": 0, "3d": 0}
    assert (result.totals["3d"].concluded, result.totals["3d"].location_error) == (0, None)
    assert result.categories["2d"]["position"].position_error is None
    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        console.print(qa_table(result))
    shown = captured.get()
    assert "2D (general)" in shown
    assert "0/24" in shown
    assert "0 came to a letter" in shown


def test_answers_keep_the_order_of_the_questions(questions: list[HeldOut]) -> None:
    said = ask(Stub(lambda question: question.text), questions, limit=5, batch=4)
    assert said == [q.row.question for q in questions]


def test_chance_is_by_options_or_by_the_best_constant() -> None:
    counts = [answer("count", "4", "4"), answer("count", "4", "2"), answer("count", "2", "9"), answer("count", "1", "")]
    sides = [answer("presence", "Yes.", "Yes."), answer("presence", "Yes.", "No.")]
    assert QARate.of(counts).chance == 0.5
    assert QARate.of(sides).chance == 0.5, "not 1, although all answers are yes"
    rate = QARate.of([*counts, *sides, answer("grid", "Top left.", "Top left.")])
    assert rate.chance == pytest.approx((4 * 0.5 + 2 * 0.5 + 1) / 7)
    assert (rate.right, rate.questions) == (3, 7)
    assert rate.value == pytest.approx(3 / 7)
    assert rate.low < 3 / 7 < rate.high


def test_own_questions(options: QAOptions, small_data: Path) -> None:
    data = (small_data / "spatial_qa", small_data / "general_qa")
    own = replace(options, data=data, questions=3)
    result = evaluate_model(Stub(lambda q: "red" if not q.spatial else "So it is A."), own, fingerprint="0123")
    assert {kind: (rate.right, rate.questions) for kind, rate in result.totals.items()} == {"2d": (3, 3), "3d": (0, 3)}
    assert [a.origin["row"] for a in result.answers if a.spatial] == [0, 2, 5], "evenly over the set"
    assert result.answers[0].origin["set"] == str(data[0])
    assert result.options["suites"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questions": 0}, "questions is 0, expected at least 1"),
        ({"questions": 334}, "questions is 334, expected at most 333"),
        ({"limit": 0}, "limit is 0, expected at least 1"),
        ({"batch": -1}, "batch is -1, expected at least 1"),
        ({"suites": ("objekt",)}, "unknown suite 'objekt': did you mean 'object'"),
        ({"data": (Path("nowhere"),)}, "nowhere: no questions there"),
        ({"data": (Path("nowhere"),), "suites": ("object",)}, "give one of the two"),
    ],
)
def test_options_that_do_not_fit(options: QAOptions, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_model(Stub(lambda question: ""), replace(options, **change), fingerprint="0123")  # type: ignore[arg-type]
    assert list(options.output.parent.iterdir()) == [], "nothing is left behind"


def test_existing_output_is_kept(options: QAOptions) -> None:
    options.output.mkdir()
    with pytest.raises(ValueError, match="exists already"):
        evaluate_model(Stub(lambda question: ""), options, fingerprint="0123")


def test_rows_that_could_never_be_right_are_refused(options: QAOptions, tmp_path: Path) -> None:
    row = {"question": "Where is the cup?", "answer": "on the table", "category": "position"}
    with write_questions(tmp_path / "own") as writer:
        writer.add_general(np.zeros((8, 8, 3), np.uint8), [row])
    stub = Stub(lambda question: "")
    with pytest.raises(ValueError, match="'on the table' is not of the form that category 'position' is scored by"):
        evaluate_model(stub, replace(options, data=(tmp_path / "own",)), fingerprint="0123")
    assert stub.batches == []


@pytest.mark.parametrize(
    ("change", "words"),
    [({"format": "other/9"}, "format is 'other/9'"), ({"seconds": ...}, r"\['seconds'\] are missing")],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=r"qa\.json does not exist"):
        QAResult.load(tmp_path)
    QAResult("p", "0", (answer("count", "4", "4"),), {}, {}, "2030-01-01T00:00:00+00:00", 1.0).save(tmp_path)
    file = tmp_path / "qa.json"
    values = {key: value for key, value in {**json.loads(file.read_text()), **change}.items() if value is not ...}
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=words):
        QAResult.load(tmp_path)


def answer(category: str, expected: str, said: str) -> Answer:
    row = QARow(None, "?", expected, category, spatial=False)
    return Answer(False, category, "?", expected, said, None, {}, score(row, said))
