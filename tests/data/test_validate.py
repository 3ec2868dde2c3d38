"""Each fault, put into a sound data set, is found and named; a sound one is not complained about."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from block_episodes import sample_episodes, write
from numpy.typing import NDArray
from PIL import Image
from test_spatial_qa import general_row, picture, spatial_row

from thinkvla.data.question_writer import write_questions
from thinkvla.data.validate import validate

TABLE = "data/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder like ``generate`` makes: episodes, spatial_qa, general_qa."""
    folder = tmp_path / "set"
    write(folder / "episodes", sample_episodes())
    with write_questions(folder / "spatial_qa") as writer:
        writer.add_spatial(picture(0), [spatial_row(), spatial_row()])
        writer.add_spatial(picture(1), [spatial_row()])
    with write_questions(folder / "general_qa") as writer:
        writer.add_general(picture(0), [general_row()])
    (folder / "generation.json").write_text("{}")
    return folder


def _actions(root: Path, edit: Callable[[NDArray[np.float32]], None]) -> None:
    file = root / "episodes" / TABLE
    table = pq.read_table(file)
    actions = np.array(table["action"].to_pylist(), dtype=np.float32)
    edit(actions)
    values = pa.FixedSizeListArray.from_arrays(pa.array(actions.ravel()), 7)
    pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", values), file)


def _column(root: Path, name: str, row: int, value: int) -> None:
    file = root / "episodes" / TABLE
    table = pq.read_table(file)
    values = table[name].to_pylist()
    values[row] = value
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, [pa.array(values)]), file)


def _set(actions: NDArray[np.float32], row: int, value: float) -> None:
    actions[row, 2] = value


def _two_infinite_actions(root: Path) -> None:
    _actions(root, lambda a: _set(a, 0, np.inf))
    _actions(root, lambda a: _set(a, 32, -np.inf))


def _ragged(root: Path) -> None:
    file = root / "episodes" / TABLE
    table = pq.read_table(file)
    rows = table["action"].to_pylist()
    rows[4] = rows[4][:6]
    pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", [rows]), file)


def _shorter_video(root: Path) -> None:
    shorter = write(root.parent / "shorter", sample_episodes()[:2])
    shutil.copy(shorter / VIDEO, root / "episodes" / VIDEO)


def _broken_video(root: Path) -> None:
    (root / "episodes" / VIDEO).write_bytes(b"\0" * 2000)


def _cut_video(root: Path) -> None:
    file = root / "episodes" / VIDEO
    file.write_bytes(file.read_bytes()[:-500])


def _json(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _bad_point_maps(root: Path) -> None:
    file = root / "episodes/pointmaps/episode_000001.npy"
    np.save(file, np.load(file)[1:])


FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "NaN": (
        lambda root: _actions(root, lambda a: _set(a, 8, np.nan)),
        ["data: episode 1: action: step 1, 'z' is nan", "computed from other actions"],
    ),
    "infinite, in two episodes": (
        _two_infinite_actions,
        ["episode 0: action: step 0, 'z' is inf", "episode 3: action: step 8, 'z' is -inf", "other actions"],
    ),
    "outside the contract": (
        lambda root: _actions(root, lambda a: _set(a, 3, 1.5)),
        ["episode 0: action: step 3, 'z' is 1.5000, outside", "computed from other actions"],
    ),
    "stale statistics": (
        lambda root: _actions(root, lambda a: _set(a, 3, 0.123)),
        [r"stats.json: the statistics were computed from other actions"],
    ),
    "edited statistics": (
        lambda root: (root / "episodes/meta/stats.json").write_text(
            (root / "episodes/meta/stats.json").read_text().replace('"q99": [\n      0.9', '"q99": [\n      0.8')
        ),
        ["stats.json: 'q99' of action is"],
    ),
    "no statistics": (
        lambda root: (root / "episodes/meta/stats.json").unlink(),
        ["stats.json is missing; run 'thinkvla data refresh"],
    ),
    "wrong action shape": (_ragged, ["data: action of frame 4 has 6 values, expected 7"]),
    "index gap": (lambda root: _column(root, "index", 9, 99), ["index of row 9 is 99, expected 9"]),
    "frame gap": (lambda root: _column(root, "frame_index", 9, 0), ["frame_index of row 9 is 0, expected 2"]),
    "unknown task": (lambda root: _column(root, "task_index", 9, 7), [r"task_index \[7\] used in data"]),
    "no table": (lambda root: (root / "episodes" / TABLE).unlink(), ["data: no tables"]),
    "broken table": (
        lambda root: (root / "episodes" / TABLE).write_bytes(b"x"),
        ["file-000.parquet cannot be read"],
    ),
    "short video": (_shorter_video, [r"front.*14 frames are missing, from frame 19 on \(episode 2\)"]),
    "broken video": (_broken_video, ["front.*the video cannot be decoded"]),
    "cut video": (_cut_video, ["front.*(cannot be decoded|frames are missing)"]),
    "no video": (lambda root: (root / "episodes" / VIDEO).unlink(), ["front.*the video file is missing"]),
    "no point maps": (
        lambda root: (root / "episodes/pointmaps/episode_000002.npy").unlink(),
        ["episode_000002.npy is missing"],
    ),
    "short point maps": (
        _bad_point_maps,
        [r"episode_000001.npy: expected finite points of shape \(12, 2, 8, 12, 3\)"],
    ),
    "missing camera": (
        lambda root: _json(root / "episodes/meta/embodiment.json", cameras=["front", "top"]),
        ["camera 'top' of embodiment 'blocks' is missing"],
    ),
    "wrong version": (
        lambda root: _json(root / "episodes/meta/info.json", codebase_version="v1.6"),
        ["codebase_version is 'v1.6'"],
    ),
    "missing question image": (
        lambda root: (root / "spatial_qa/images/000001.png").unlink(),
        [r"000001\.png: the image cannot be read"],
    ),
    "broken question image": (
        lambda root: (root / "general_qa/images/000000.png").write_bytes(b"x"),
        [r"general_qa.images.000000\.png: the image cannot be read"],
    ),
    "broken general row": (
        lambda root: (root / "general_qa/rows.jsonl").write_text('{"id": "0"}\n{"id": "1"}\n'),
        ["row 0: neither 'question' nor", "row 1: neither 'question' nor"],
    ),
    "broken spatial rows": (
        lambda root: (root / "spatial_qa/rows.parquet").write_bytes(b"x"),
        ["rows.parquet cannot be read"],
    ),
}


def test_a_sound_set_passes(root: Path) -> None:
    report = validate(root)
    assert report.problems == ()
    assert report.exit_code == 0
    assert len(report.checked) == 3
    assert "4 episodes, 33 frames" in str(report)
    assert "spatial_qa: 3 rows, 2 images" in str(report)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_fault_is_found(root: Path, name: str) -> None:
    inject, expected = FAULTS[name]
    inject(root)
    report = validate(root)
    assert report.exit_code == 1
    assert len(report.problems) == len(expected), report.problems
    for problem, pattern in zip(report.problems, expected, strict=True):
        assert re.search(pattern, problem), problem
        assert str(root) in problem


def test_faults_of_all_data_sets_are_listed_together(root: Path) -> None:
    for name in ("NaN", "no video", "missing question image", "broken general row"):
        FAULTS[name][0](root)
    report = validate(root)
    assert len(report.problems) == 6
    assert "6 problem(s)" in str(report)


def test_nothing_to_validate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no data set there; expected meta/info\.json"):
        validate(tmp_path)


def test_questions_in_published_forms(tmp_path: Path) -> None:
    """A LLaVA file with its images elsewhere, and a parquet file that holds its images, in one folder or by name."""
    turns = [{"from": "human", "value": "<image>Who?"}, {"from": "gpt", "value": "A cat."}]
    rows = [{"image": name, "conversations": turns} for name in ("a.png", "b.png")] + [{"conversations": turns}]
    (tmp_path / "llava.json").write_text(json.dumps(rows[:2]))
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "photos/a.png")
    report = validate(tmp_path / "llava.json", images=[tmp_path / "photos"])
    assert len(report.problems) == 1
    assert re.search(r"b\.png: the image cannot be read", report.problems[0])
    assert report.checked == (f"{tmp_path / 'llava.json'}: 2 rows, 2 images",)
    Image.fromarray(picture(0)).save(tmp_path / "photos/b.png")
    assert validate(str(tmp_path / "llava.json"), images=[tmp_path / "photos"]).problems == ()

    content = (tmp_path / "photos/a.png").read_bytes()
    table = [spatial_row() | {"image": {"bytes": data, "path": None}} for data in (content, content[:50])]
    (tmp_path / "hub/data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "hub/data/train-0.parquet")
    report = validate(tmp_path / "hub")
    assert len(report.problems) == 1
    assert "train-0.parquet: row 1: image: the image cannot be read" in report.problems[0]
    (tmp_path / "llava.json").write_text(json.dumps(rows[2:]))
    report = validate(tmp_path / "llava.json")
    assert len(report.problems) == 1
    assert "row 0: has 0 images, but says <image> 1 times" in report.problems[0]
