"""The report's section on answers: models side by side, on one page with everything inside."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from thinkvla.data.spatial_qa import QARow
from thinkvla.evaluate.qa_results import Answer, QAResult
from thinkvla.evaluate.qa_section import answers_section, is_qa_result
from thinkvla.evaluate.report import write_report
from thinkvla.evaluate.scoring import score

QUESTIONS = [
    QARow(None, "How many cubes do you see?", "2", "count", spatial=False),
    QARow(None, "In which part of the picture is the red cube?", "Top left.", "grid", spatial=False),
    QARow(
        None,
        "Which is higher?\nA. red cube\nB. <blue ball>",
        "The 3D location of the red cube is (0.10, 0.20, 0.30). Therefore, the final answer is A.",
        "height_higher",
        spatial=True,
    ),
]


def make_result(folder: Path, policy: str, said: list[str], questions: list[QARow] = QUESTIONS) -> Path:
    (folder / "pictures").mkdir(parents=True)
    for number in range(len(questions)):
        Pillow.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(folder / "pictures" / f"{number}.png")
    answers = tuple(
        Answer(row.spatial, row.category, row.question, row.answer, words, f"pictures/{n}.png", {"seed": n}, found)
        for n, (row, words) in enumerate(zip(questions, said, strict=True))
        for found in [score(row, words)]
    )
    QAResult(policy, "feedface", answers, {"questions": 1}, {"torch": "2.99"}, "2030-01-01", 1.0).save(folder)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [
        make_result(tmp_path / "base", "models/base", ["2", "Top left.", ""]),
        make_result(tmp_path / "r7", "runs/r7", ["3", "Top left.", QUESTIONS[2].answer]),
    ]


def test_models_stand_side_by_side(folders: list[Path]) -> None:
    html = answers_section(folders, {"runs/r7": "r7 (R7)"})
    assert html.index("base</th>") < html.index("r7 (R7)</th>")
    for category in ("count", "grid", "height_higher"):
        assert category in html
    assert "100.0\u202f%" in html
    assert "1/2" in html
    assert "r7 (R7): 1 came to a letter; 1 of 1 locations, off by 0.0 cm." in html
    assert "not all asked the same" not in html
    assert "feedface" in html


def test_examples_show_picture_question_and_what_each_said(folders: list[Path]) -> None:
    html = answers_section(folders, {})
    assert html.count("<figure") == 3
    assert "B. &lt;blue ball&gt;" in html, "texts are escaped"
    assert "(nothing)" in html
    assert html.index("How many cubes") < html.index("In which part"), "models differ on the first"
    url = html.split('<img src="data:image/png;base64,')[1].split('"')[0]
    with Pillow.open(io.BytesIO(base64.b64decode(url))) as picture:
        assert picture.size == (8, 8)


def test_different_questions_are_pointed_out(folders: list[Path], tmp_path: Path) -> None:
    other = make_result(tmp_path / "r1", "runs/r1", ["2"], QUESTIONS[:1])
    html = answers_section([*folders, other], {})
    assert "not all asked the same questions" in html
    assert html.count("not asked</td>") == 3, "grid, the spatial total and its category"


def test_the_report_takes_both_kinds_of_results(folders: list[Path], tmp_path: Path) -> None:
    assert is_qa_result(folders[0])
    assert not is_qa_result(tmp_path)
    write_report(tmp_path / "report.html", evaluations=folders, title="answers")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert '<section id="answers">' in html
    assert '<a href="#answers">' in html
    assert '<section id="success">' not in html
