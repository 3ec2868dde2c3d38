"""Questions about images, with answers: spatial ones in SpatialReasoner's row form, general ones in LLaVA's.

A spatial set is a folder with ``rows.parquet`` and ``images/``; its columns are SpatialReasoner's
(``question, A, B, C, D, answer, answer_name, answer_cot, category, image_filename, bounding_box,
direction``). A general set is a folder with ``rows.jsonl`` and ``images/``, or any LLaVA / Qwen-VL
``.json`` or ``.jsonl`` file whose image paths are relative to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from thinkvla.contract import Image
from thinkvla.files import new_folder

SPATIAL_ROWS = "rows.parquet"
GENERAL_ROWS = "rows.jsonl"
IMAGES = "images"
LETTERS = ("A", "B", "C", "D")
_VECTOR = pa.list_(pa.float64())
SPATIAL_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("question", *LETTERS, "answer", "answer_name", "answer_cot", "category")]
    + [
        ("image_filename", pa.string()),
        ("bounding_box", pa.list_(pa.struct([("bbox_3d", _VECTOR), ("label", pa.string())]))),
        (
            "direction",
            pa.list_(pa.struct([("front_dir", _VECTOR), ("left_dir", _VECTOR), ("label", pa.string())])),
        ),
    ]
)


@dataclass(frozen=True)
class QARow:
    """One question with its answer.

    Attributes:
        image: uint8 (H, W, 3) RGB, or None for a text-only row.
        question: as the model is asked, a multiple-choice question with its options on lines of their own.
        answer: what the model should say; of a spatial row the reasoning, which ends with the answer's
            letter.
        category: kind of question, empty where the set does not say.
        spatial: whether it is a spatial (3D) question.
    """

    image: Image | None
    question: str
    answer: str
    category: str
    spatial: bool


@dataclass(frozen=True)
class Entry:
    """One question whose image is not read yet."""

    image: Path | None
    question: str
    answer: str
    category: str


class QADataset:
    """A set of questions; texts are in memory, an image is read when its row is asked for."""

    def __init__(self, path: Path) -> None:
        """Open ``path``: a folder written by one of the writers here, or a LLaVA ``.json`` / ``.jsonl`` file.

        Raises:
            ValueError: nothing to read there, or a row is broken; the message names file, row and field.
        """
        self.path = path
        self.spatial = (path / SPATIAL_ROWS).is_file()
        file, rows = read_rows(path)
        self._entries = [entry for n, row in enumerate(rows) for entry in parse_row(row, file, n)]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def categories(self) -> list[str]:
        """The category of every row, in order."""
        return [entry.category for entry in self._entries]

    def __getitem__(self, index: int) -> QARow:
        entry = self._entries[index]
        image = None if entry.image is None else read_image(entry.image)
        return QARow(image, entry.question, entry.answer, entry.category, self.spatial)


@contextmanager
def write_questions(path: Path) -> Iterator[QAWriter]:
    """Write the set ``path``; it is complete when the context ends well, and removed otherwise.

    Raises:
        ValueError: ``path`` exists, or no question was added, or both kinds were.
    """
    with new_folder(path) as folder:
        writer = QAWriter(folder)
        yield writer
        writer.write_rows()


class QAWriter:
    """Adds questions with their images to a set that grows in ``root``; :func:`write_questions` makes one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / IMAGES).mkdir()
        self._spatial: list[dict[str, Any]] = []
        self._general: list[dict[str, Any]] = []
        self._images = 0

    def add_spatial(self, image: Image, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add questions about one (H, W, 3) uint8 RGB image; rows have all spatial columns but its name."""
        name = self._save(image)
        fields = [field for field in SPATIAL_SCHEMA.names if field != "image_filename"]
        self._spatial += [{f: _plain(row[f]) for f in fields} | {"image_filename": name} for row in rows]

    def add_general(self, image: Image, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add questions about one (H, W, 3) uint8 RGB image; each row has ``question, answer, category``."""
        name = self._save(image)
        for row in rows:
            turns = [
                {"from": "human", "value": f"<image>\n{row['question']}"},
                {"from": "gpt", "value": row["answer"]},
            ]
            self._general.append(
                {"id": f"{len(self._general):06d}", "image": f"{IMAGES}/{name}", "conversations": turns}
                | {"category": row["category"]}
            )

    def write_rows(self) -> None:
        """Write the rows; raises ValueError unless they are all spatial or all general."""
        if bool(self._spatial) == bool(self._general):
            raise ValueError(
                "a set needs spatial or general questions, not both and not none "
                f"({len(self._spatial)} spatial, {len(self._general)} general given)"
            )
        if self._spatial:
            pq.write_table(pa.Table.from_pylist(self._spatial, SPATIAL_SCHEMA), self._root / SPATIAL_ROWS)
        else:
            lines = [json.dumps(row, ensure_ascii=False) for row in self._general]
            (self._root / GENERAL_ROWS).write_text("\n".join(lines) + "\n")

    def _save(self, image: Image) -> str:
        name = f"{self._images:06d}.png"
        Pillow.fromarray(image).save(self._root / IMAGES / name)
        self._images += 1
        return name


def read_image(path: Path) -> Image:
    """An image file as uint8 (H, W, 3) RGB; raises ValueError naming ``path`` if it cannot be read."""
    try:
        with Pillow.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{path}: the image cannot be read ({error}); restore the file or remove its rows") from error


def render_question(question: str, options: Mapping[str, str | None]) -> str:
    """The question with its options on lines of their own: ``A. red cube``."""
    lines = [question, *(f"{letter}. {text}" for letter, text in options.items() if text is not None)]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Tuples and arrays inside a row as the lists that Arrow wants."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def read_rows(path: Path) -> tuple[Path, list[Any]]:
    """The file that holds the questions of ``path``, and its rows as they stand there.

    Raises:
        ValueError: there is no such file, it cannot be read, lacks a column, or is empty.
    """
    candidates = [path / SPATIAL_ROWS, path / GENERAL_ROWS] if path.is_dir() else [path]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise ValueError(f"{path}: no questions there; expected {SPATIAL_ROWS}, {GENERAL_ROWS} or a LLaVA .json(l)")
    try:
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            missing = sorted(set(SPATIAL_SCHEMA.names) - set(table.column_names))
            if missing:
                raise ValueError(f"columns {missing} are missing, a spatial set has {SPATIAL_SCHEMA.names}")
            rows = table.to_pylist()
        elif file.suffix == ".jsonl":
            rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
        else:
            rows = json.loads(file.read_text())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{file} cannot be read ({error}); restore it or generate it again") from error
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{file}: expected a list of rows, found none")
    return file, rows


def parse_row(row: Any, file: Path, number: int) -> list[Entry]:
    """The questions of one row of ``file``; raises ValueError naming the row if it is broken."""
    where = f"{file}: row {number}"
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object, got {type(row).__name__}; remove the row")
    return [_spatial_entry(row, file, where)] if file.suffix == ".parquet" else _turns(row, file, where)


def _spatial_entry(row: Mapping[str, Any], file: Path, where: str) -> Entry:
    options = {letter: row[letter] for letter in LETTERS}
    for field in ("question", "answer_cot", "category", "image_filename"):
        if not row[field]:
            raise ValueError(f"{where}: '{field}' is empty; fill it or remove the row")
    answer = row["answer"]
    if options.get(answer) is None:
        raise ValueError(f"{where}: answer '{answer}' is none of its options {[k for k, v in options.items() if v]}")
    if options[answer] != row["answer_name"]:
        raise ValueError(f"{where}: option {answer} is '{options[answer]}', answer_name is '{row['answer_name']}'")
    final = re.search(r"final answer is ([A-D])\.?\s*$", row["answer_cot"])
    if final is None or final[1] != answer:
        raise ValueError(f"{where}: answer_cot must end with 'Therefore, the final answer is {answer}.'")
    image = file.parent / IMAGES / row["image_filename"]
    return Entry(image, render_question(row["question"], options), row["answer_cot"], row["category"])


def _turns(row: Mapping[str, Any], file: Path, where: str) -> list[Entry]:
    """Each human turn with its answer as a row of its own; the image goes with all of them."""
    images = row.get("image", [])
    images = [images] if isinstance(images, str) else images
    if len(images) > 1:
        raise ValueError(f"{where}: has {len(images)} images, one image a row is supported; remove or split the row")
    turns = row.get("conversations", [])
    speakers = [turn.get("from") for turn in turns]
    if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
        raise ValueError(f"{where}: 'conversations' must take turns human, gpt, …; it has {speakers}")
    image = file.parent / images[0] if images else None
    entries = []
    for human, gpt in zip(turns[::2], turns[1::2], strict=True):
        question, answer = human["value"].replace("<image>", "").strip(), gpt["value"].strip()
        if not question or not answer:
            raise ValueError(f"{where}: an empty question or answer; remove the row")
        entries.append(Entry(image, question, answer, row.get("category", "")))
    return entries
