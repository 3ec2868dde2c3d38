"""Questions: written and read back, rendered, read as others publish them, and refused when broken."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from thinkvla.data import question_images
from thinkvla.data.hub import find_source
from thinkvla.data.question_rows import Place, parse_row, render_question
from thinkvla.data.question_writer import SPATIAL_SCHEMA, write_questions
from thinkvla.data.spatial_qa import QADataset


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
    row = dataset[1].first_question()
    np.testing.assert_array_equal(row.image, picture(0))
    np.testing.assert_array_equal(dataset[2].images[0], picture(1))
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
    row = dataset[1].first_question()
    np.testing.assert_array_equal(row.image, picture(3))
    assert (row.question, row.answer, row.category, row.spatial) == ("How many?", "2", "colour", False)
    written = json.loads((tmp_path / "qa/rows.jsonl").read_text().splitlines()[0])
    assert written["image"] == "images/000000.png"
    assert written["conversations"] == [
        {"from": "human", "value": "<image>\nWhat colour is the cube?"},
        {"from": "gpt", "value": "red"},
    ]


def sft_rows() -> list[dict[str, Any]]:
    """Rows as in the set that SpatialReasoner was trained on: both forms in one table, with and without options."""
    free = {"question": "Where is the car?", "answer_cot": "The 3D location of the car is (1.0, 0.2, 3.4)."}
    turns = [{"from": "human", "value": "What is it?\n<image>"}, {"from": "gpt", "value": "A cat."}]
    choice = {name: value for name, value in spatial_row(C="", answer_name=" The Blue Plate").items()}
    rows = [
        choice | {"question_index": "7", "image_filename": "a.png"},
        free | {"image_filename": "b.png"},
        {"conversations": turns, "image_path": "coco/c.png"},
    ]
    return [dict.fromkeys(name for each in rows for name in each) | row for row in rows]


def save_images(folder: Path, names: Mapping[str, int]) -> None:
    for name, seed in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(folder / name)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(seed)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_spatialreasoners_training_rows(tmp_path: Path, form: str) -> None:
    """One file with both forms, its images elsewhere; each use takes the rows that are its own."""
    if form == "parquet":
        (tmp_path / "set/data").mkdir(parents=True)
        file = tmp_path / "set/data/train-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(sft_rows()), file)
        pq.write_table(pa.Table.from_pylist(sft_rows()[:1]), file.with_name("val-00000-of-00001.parquet"))
    else:
        (tmp_path / "set").mkdir()
        (tmp_path / "set/all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sft_rows()))
    save_images(tmp_path, {"openimages/a.png": 0, "openimages/b.png": 1, "llava/coco/c.png": 2})
    folders = (tmp_path / "openimages", tmp_path / "llava")
    spatial, general, both = (QADataset(tmp_path / "set", folders, kind) for kind in (True, False, None))
    assert [len(one) for one in (spatial, general, both)] == [2, 1, 3]
    assert spatial[0].turns[0][0] == "Which is higher?\nA. the red cube\nB. the blue plate"
    assert spatial[1].turns == (("Where is the car?", "The 3D location of the car is (1.0, 0.2, 3.4)."),)
    assert general[0].turns == (("What is it?<image>", "A cat."),)
    assert [row.spatial for row in (spatial[1], general[0], both[0], both[2])] == [True, False, True, False]
    np.testing.assert_array_equal(spatial[1].images[0], picture(1))
    np.testing.assert_array_equal(general[0].images[0], picture(2))
    assert len(QADataset(tmp_path / "set", folders).fingerprint()) == 16
    with pytest.raises(
        ValueError, match=r"a\.png: the image cannot be read \(no such file there \(nor in .*name the folder"
    ):
        QADataset(tmp_path / "set")[0]


def test_images_inside_several_parquet_files(tmp_path: Path) -> None:
    """The Hub's form of images: bytes, or a path where there are none; one image, or a list, or null."""
    (tmp_path / "data").mkdir()
    two = [{"from": "human", "value": "<image>\n<image>\nSame?"}, {"from": "gpt", "value": "No."}]
    rows = [
        {"images": [{"bytes": png(3), "path": None}, {"bytes": png(4), "path": "x.png"}], "conversations": two},
        {"images": None, "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"images": [{"bytes": None, "path": "on_disk.png"}], "conversations": [two[0] | {"value": "Here?"}, two[1]]},
    ]
    save_images(tmp_path, {"on_disk.png": 5})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data/train-00000-of-00002.parquet", row_group_size=2)
    single = [spatial_row() | {"image": {"bytes": png(6 + number), "path": None}} for number in range(3)]
    pq.write_table(pa.Table.from_pylist(single), tmp_path / "data/train-00001-of-00002.parquet", row_group_size=1)
    dataset = QADataset(tmp_path)
    assert [len(dataset[number].images) for number in range(6)] == [2, 0, 1, 1, 1, 1]
    seen = [image for number in (0, 2, 5, 3, 4) for image in dataset[number].images]
    for image, seed in zip(seen, (3, 4, 5, 8, 6, 7), strict=True):
        np.testing.assert_array_equal(image, picture(seed))
    assert dataset[0].turns[0][0] == "Same?", "images before the question need no mark"


def test_faults_inside_parquet_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [spatial_row() | {"image": {"bytes": content, "path": None}} for content in (png(0), png(0)[:60], b"", None)]
    file = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    dataset = QADataset(file)
    np.testing.assert_array_equal(dataset[0].images[0], picture(0))
    for number in (1, 2):
        with pytest.raises(ValueError, match=rf"train\.parquet: row {number}: image: the image cannot be read"):
            dataset[number]
    with pytest.raises(ValueError, match=r"row 3: image: the image cannot be read \(neither bytes nor a path\)"):
        dataset[3]
    monkeypatch.setattr(question_images, "LARGEST_ROW_GROUP", 10)
    question_images._column_of.cache_clear()
    with pytest.raises(ValueError, match=r"a row group has .* write the file again with row groups of about 100 rows"):
        dataset[0]


Q, A = {"from": "human", "value": "Who?"}, {"from": "gpt", "value": "A cat."}


@pytest.mark.parametrize(
    ("row", "images", "turns"),
    [
        ({"image": "a.png", "conversations": [Q | {"value": "<image>\nWho?"}, A]}, 1, [("Who?", "A cat.")]),
        ({"image": ["a.png"], "conversations": [Q, A, Q, A]}, 1, [("Who?", "A cat.")] * 2),
        ({"conversations": [Q, A]}, 0, [("Who?", "A cat.")]),
        (
            {"image": ["a", "b"], "conversations": [Q | {"value": "From <image>\nto <image>"}, A]},
            2,
            [("From <image>\nto<image>", "A cat.")],
        ),
        (
            {
                "images": ["a", "b"],
                "conversations": [Q | {"value": "<image>\nWho?"}, A, Q | {"value": "<image> Now?"}, A],
            },
            2,
            [("<image>Who?", "A cat."), ("<image>Now?", "A cat.")],
        ),
        (
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]},
            0,
            [("Hi", "Yes")],
        ),
        (
            {
                "image": "a.png",
                "messages": [
                    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]},
                    {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
                ],
            },
            1,
            [("Who?", "A cat.")],
        ),
        ({"conversations": [A, Q, A, Q]}, 0, [("Who?", "A cat.")]),
    ],
    ids=["one image", "turns", "text", "inside", "every turn", "roles", "parts", "loose ends"],
)
def test_conversations(row: dict[str, Any], images: int, turns: list[tuple[str, str]]) -> None:
    entry = parse_row(row, Place(Path("x.json"), 0, (Path(),)))
    assert len(entry.images) == images
    assert list(entry.turns) == turns


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "C"}, r"row 1: answer 'C' is none of its options \['A', 'B'\]"),
        ({"answer": None}, "answer 'None' is none of its options"),
        ({"answer": "A"}, "option A is 'the red cube', answer_name is 'the blue plate'"),
        ({"answer_cot": "So the final answer is A."}, "the answer is B, but answer_cot ends with A"),
        ({"answer_cot": ""}, "'answer_cot' is empty"),
        ({"question": ""}, "neither 'question' nor 'conversations' has a value"),
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
        (
            {"image": ["a.png", "b.png"], "conversations": [Q | {"value": "<image>?"}, A]},
            "has 2 images, but says <image> 1",
        ),
        ({"conversations": [Q | {"value": "<image>?"}, A]}, "has 0 images, but says <image> 1 times"),
        ({"conversations": [Q]}, r"must take turns human, gpt, …; it has \[\]"),
        ({"conversations": [Q, Q, A]}, r"it has \['human', 'human', 'gpt'\]"),
        ({"conversations": [{"from": "system", "value": "Be kind."}, Q, A]}, "a turn is by 'system', expected text by"),
        ({"conversations": [Q, {"from": "gpt", "value": 3}]}, "a turn is by 'gpt', expected text"),
        ({"conversations": ["hello"]}, "a turn must be an object"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "a part of a turn is 'video'"),
        ({}, "neither 'question' nor 'conversations'"),
        ({"question": "?", "answer": "!"}, "expected one image, the row has 0"),
        ({"image": [3], "conversations": [Q, A]}, "'image' must name image files, got int"),
        ({"image": "a", "conversations": [Q | {"value": "<image>"}, A]}, "an empty"),
        ([], "expected an object, got list"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: Any, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=f"rows.jsonl: row 0: .*{message}"):
        QADataset(tmp_path)


def test_unreadable_images_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no questions there; a set is rows\.parquet"):
        QADataset(tmp_path)
    with write_questions(tmp_path / "qa") as writer:
        writer.add_spatial(picture(0), [spatial_row()])
    (tmp_path / "qa/images/000000.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"000000\.png: the image cannot be read"):
        QADataset(tmp_path / "qa")[0]
    (tmp_path / "qa/images/000000.png").unlink()
    with pytest.raises(ValueError, match=r"000000\.png: the image cannot be read"):
        QADataset(tmp_path / "qa")[0]
    pq.write_table(pa.table({"text": ["?"]}), tmp_path / "qa/rows.parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet cannot be read \(no column 'question' or 'conversations'"):
        QADataset(tmp_path / "qa")
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"x\.jsonl cannot be read"):
        QADataset(tmp_path / "x.jsonl")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json: expected a list of rows"):
        QADataset(tmp_path / "x.json")
    (tmp_path / "qa/rows.parquet").unlink()
    with pytest.raises(ValueError, match=r"several files, \['x\.json', 'x\.jsonl'\]; name the one"):
        QADataset(tmp_path)
    for folder in ("all", "some"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"question": ["?"]}), tmp_path / folder / "train.parquet")
    with pytest.raises(ValueError, match=r"several folders, \['all', 'some'\]; name the one"):
        QADataset(tmp_path)


def test_images_that_cannot_be_read_are_left_out_on_request(tmp_path: Path) -> None:
    with write_questions(tmp_path / "qa") as writer:
        for seed in range(40):
            writer.add_spatial(picture(seed), [spatial_row(question=f"{seed}?")])
    images = tmp_path / "qa/images"
    content = (images / "000007.png").read_bytes()
    (images / "000007.png").write_bytes(content[: len(content) // 2])
    (images / "000030.png").unlink()
    kept = QADataset(tmp_path / "qa").readable()
    assert (len(kept), kept.left_out) == (38, 2)
    assert [kept[number].turns[0][0].split("?")[0] for number in (6, 7, 37)] == ["6", "8", "39"]
    (images / "000031.png").unlink()
    with pytest.raises(ValueError, match=r"images of 3 of 40 rows cannot be read, more than 5%; the first: .*000007"):
        QADataset(tmp_path / "qa").readable()


def test_sets_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is taken apart, the snapshot is read, and its commit is known."""
    snapshot = tmp_path / "snapshots" / "95d6a17"
    (snapshot / "all").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(sft_rows()[:1]), snapshot / "all/train-0.parquet")
    (snapshot / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    asked: list[tuple[str, dict[str, Any]]] = []

    def download(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    dataset = QADataset("hf://ccvl/Some-Set_1.0@main/all")
    assert len(dataset) == 1
    assert (dataset.source.revision, dataset.source.card) == ("95d6a17", snapshot / "README.md")
    patterns = ["all", "all/*", "README.md"]
    assert asked == [("ccvl/Some-Set_1.0", {"repo_type": "dataset", "revision": "main", "allow_patterns": patterns})]
    QADataset("hf://datasets/ccvl/x")
    assert asked[-1] == ("ccvl/x", {"repo_type": "dataset", "revision": None, "allow_patterns": None})
    with pytest.raises(ValueError, match=r"there is no 'none' in that data set"):
        QADataset("hf://ccvl/x/none")
    with pytest.raises(ValueError, match=r"'hf://ccvl' is no Hub data set; expected hf://owner/name"):
        find_source("hf://ccvl")


def test_a_set_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(name: str, **options: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ValueError, match=r"'hf://a/b' cannot be had from the Hub \(offline\); check the name"):
        QADataset("hf://a/b")


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
