"""Writing question sets: a folder with ``images/`` and ``rows.parquet`` (spatial) or ``rows.jsonl`` (general)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow

from thinkvla.contract import Image
from thinkvla.data.question_files import GENERAL_ROWS, IMAGE_FOLDER, SPATIAL_ROWS
from thinkvla.data.question_rows import IMAGE, LETTERS
from thinkvla.files import new_folder

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
        (root / IMAGE_FOLDER).mkdir()
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
                {"from": "human", "value": f"{IMAGE}\n{row['question']}"},
                {"from": "gpt", "value": row["answer"]},
            ]
            self._general.append(
                {"id": f"{len(self._general):06d}", "image": f"{IMAGE_FOLDER}/{name}", "conversations": turns}
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
        Pillow.fromarray(image).save(self._root / IMAGE_FOLDER / name)
        self._images += 1
        return name


def _plain(value: Any) -> Any:
    """Tuples and arrays inside a row as the lists that Arrow wants."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
