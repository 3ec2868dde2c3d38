"""Questions: written and read back, rendered, and refused when broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from thinkvla.data.spatial_qa import SPATIAL_SCHEMA, QADataset, render_question, write_questions


def spatial_row(**changes: Any) -> dict[str, Any]:
    row = {
        "question": "Which is higher?",
        "A": "the red cube",
        "B": "the blue plate",
        "C": None,
        "D": None,
        "answer": "B",
        "answer_name": "the blue plate",
        "answer_cot": "The red cube is at height 0.10. The plate is at 0.20. Therefore, the final answer is B.",
        "category": "height_higher",
        "bounding_box": [{"bbox_3d": [0.1, 0.2, 0.3], "label": "red cube"}],
        "direction": [{"front_dir": [1.0, 0.0, 0.0], "left_dir": [0.0, 1.0, 0.0], "label": "red cube"}],
    }
    return row | changes


def general_row(**changes: Any) -> dict[str, Any]:
    return {"question": "What colour is the cube?", "answer": "red", "category": "colour"} | changes


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def test_spatial_rows_round_trip(tmp_path: Path) -> None:
    with write_questions(tmp_path / "qa") as writer:
        writer.add_spatial(picture(0), [spatial_row(), spatial_row(C="the hand", category="other")])
        writer.add_spatial(picture(1), [spatial_row()])
    dataset = QADataset(tmp_path / "qa")
    assert len(dataset) == 3
    assert dataset.spatial
    row = dataset[1]
    np.testing.assert_array_equal(row.image, picture(0))
    np.testing.assert_array_equal(dataset[2].image, picture(1))
    assert row.question == "Which is higher?\nA. the red cube\nB. the blue plate\nC. the hand"
    assert row.answer == spatial_row()["answer_cot"]
    assert (row.category, row.spatial) == ("other", True)
    table = pq.read_table(tmp_path / "qa/rows.parquet")
    assert table.schema.equals(SPATIAL_SCHEMA)
    assert table["bounding_box"][0].as_py() == spatial_row()["bounding_box"]
    assert table["image_filename"].to_pylist() == ["000000.png", "000000.png", "000001.png"]


def test_general_rows_round_trip_as_llava(tmp_path: Path) -> None:
    with write_questions(tmp_path / "qa") as writer:
        writer.add_general(picture(3), [general_row(), general_row(question="How many?", answer="2")])
    dataset = QADataset(tmp_path / "qa")
    row = dataset[1]
    np.testing.assert_array_equal(row.image, picture(3))
    assert (row.question, row.answer, row.category, row.spatial) == ("How many?", "2", "colour", False)
    written = json.loads((tmp_path / "qa/rows.jsonl").read_text().splitlines()[0])
    assert written["image"] == "images/000000.png"
    assert written["conversations"] == [
        {"from": "human", "value": "<image>\nWhat colour is the cube?"},
        {"from": "gpt", "value": "red"},
    ]


def test_a_published_llava_file_with_several_turns_and_text_only(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "<image>\nWho?"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "Where?"},
        {"from": "gpt", "value": "On a mat."},
    ]
    Image.fromarray(picture(0)).save(tmp_path / "cat.png")
    rows = [{"id": "0", "image": ["cat.png"], "conversations": turns}, {"conversations": turns[2:]}]
    (tmp_path / "llava.json").write_text(json.dumps(rows))
    dataset = QADataset(tmp_path / "llava.json")
    assert [dataset[i].question for i in range(3)] == ["Who?", "Where?", "Where?"]
    assert dataset[1].image is not None
    assert dataset[2].image is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "C"}, r"row 1: answer 'C' is none of its options \['A', 'B'\]"),
        ({"answer": "A"}, "option A is 'the red cube', answer_name is 'the blue plate'"),
        ({"answer_cot": "So the final answer is A."}, "must end with 'Therefore, the final answer is B.'"),
        ({"answer_cot": "B"}, "must end with"),
        ({"question": ""}, "'question' is empty"),
        ({"category": None}, "'category' is empty"),
    ],
)
def test_a_broken_spatial_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with write_questions(tmp_path / "qa") as writer:
        writer.add_spatial(picture(0), [spatial_row(), spatial_row(**change)])
    with pytest.raises(ValueError, match=message):
        QADataset(tmp_path / "qa")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": ["a.png", "b.png"], "conversations": []}, "has 2 images, one image a row"),
        (
            {"conversations": [{"from": "human", "value": "?"}]},
            r"must take turns human, gpt, …; it has \['human'\]",
        ),
        ({}, "must take turns"),
        (
            {"conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "x"}]},
            "an empty",
        ),
        ([], "expected an object, got list"),
    ],
)
def test_a_broken_general_row_is_named(tmp_path: Path, row: Any, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=f"rows.jsonl: row 0: {message}|rows.jsonl: row 0.*{message}"):
        QADataset(tmp_path)


def test_unreadable_images_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no questions there; expected rows\.parquet"):
        QADataset(tmp_path)
    with write_questions(tmp_path / "qa") as writer:
        writer.add_spatial(picture(0), [spatial_row()])
    (tmp_path / "qa/images/000000.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"000000\.png: the image cannot be read"):
        QADataset(tmp_path / "qa")[0]
    (tmp_path / "qa/images/000000.png").unlink()
    with pytest.raises(ValueError, match=r"000000\.png: the image cannot be read"):
        QADataset(tmp_path / "qa")[0]
    pq.write_table(pa.table({"question": ["?"]}), tmp_path / "qa/rows.parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet cannot be read \(columns \['A', "):
        QADataset(tmp_path / "qa")
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"x\.jsonl cannot be read"):
        QADataset(tmp_path / "x.jsonl")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json: expected a list of rows"):
        QADataset(tmp_path / "x.json")


def _write_both_kinds(path: Path) -> None:
    with write_questions(path) as writer:
        writer.add_spatial(picture(0), [spatial_row()])
        writer.add_general(picture(0), [general_row()])


def test_a_set_is_spatial_or_general_and_never_half_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not both and not none \(1 spatial, 1 general given\)"):
        _write_both_kinds(tmp_path / "qa")
    with pytest.raises(ValueError, match=r"\(0 spatial, 0 general given\)"), write_questions(tmp_path / "qa"):
        pass
    assert list(tmp_path.iterdir()) == []


@given(st.text(min_size=1), st.lists(st.one_of(st.none(), st.text()), min_size=4, max_size=4))
def test_a_rendered_question_holds_exactly_its_options(question: str, texts: list[str | None]) -> None:
    options = dict(zip("ABCD", texts, strict=True))
    rendered = render_question(question, options)
    given_options = [f"{letter}. {text}" for letter, text in options.items() if text is not None]
    assert rendered == "\n".join([question, *given_options])
