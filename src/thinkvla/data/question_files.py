"""Finding and reading the files of a question set: parquet (one or several), jsonl or json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thinkvla.data.question_rows import COLUMNS, CONVERSATIONS, IMAGES, Place

SPATIAL_ROWS = "rows.parquet"
GENERAL_ROWS = "rows.jsonl"
IMAGE_FOLDER = "images"
NOT_ROWS = ("generation.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Files in a data set's folder that describe it."""


def question_files(path: Path) -> list[Path]:
    """The files that hold the rows of a set: ``path`` itself, or those in the folder ``path``.

    In a folder: ``rows.parquet`` or ``rows.jsonl`` as written here, else its parquet files as the Hub lays them out
    (only those of the training split where names say so), else its one ``.json`` or ``.jsonl`` file.

    Raises:
        ValueError: there is none, or it is not clear which.
    """
    if path.is_file():
        return [path]
    for name in (SPATIAL_ROWS, GENERAL_ROWS):
        if (path / name).is_file():
            return [path / name]
    tables = sorted(path.rglob("*.parquet"))
    tables = [file for file in tables if file.name.startswith("train")] or tables
    if len({file.parent for file in tables}) > 1:
        folders = sorted({str(file.parent.relative_to(path)) for file in tables})
        raise ValueError(f"{path}: parquet files in several folders, {folders}; name the one that is wanted")
    if tables:
        return tables
    lists = sorted(f for f in path.glob("*.json*") if f.suffix in (".json", ".jsonl") and f.name not in NOT_ROWS)
    if len(lists) != 1:
        names = [file.name for file in lists]
        found = f"several files, {names}; name the one that is wanted" if lists else "no questions there"
        raise ValueError(f"{path}: {found}; a set is {SPATIAL_ROWS}, {GENERAL_ROWS}, parquet files, or a .json(l) file")
    return lists


def read_rows(path: Path, images: Sequence[Path] = ()) -> Iterator[tuple[Any, Place]]:
    """Rows of the set ``path`` as they stand in its files, each with its place.

    Image files are looked for beside the rows, in ``path`` and in ``images``, and in a folder ``images`` of each.

    Raises:
        ValueError: a file cannot be read, has no known column, or has no rows.
    """
    for file in question_files(path):
        own = dict.fromkeys((file.parent, path if path.is_dir() else file.parent))
        folders = tuple(folder for parent in (*own, *images) for folder in (parent, parent / IMAGE_FOLDER))
        embedded: frozenset[str] = frozenset()
        try:
            if file.suffix == ".parquet":
                rows, embedded = _read_table(file)
            elif file.suffix == ".jsonl":
                with file.open(encoding="utf-8") as lines:
                    rows = [json.loads(line) for line in lines if line.strip()]
            else:
                rows = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ValueError(f"{file} cannot be read ({error}); restore it or get it again") from error
        if not isinstance(rows, list) or not rows:
            raise ValueError(f"{file}: expected a list of rows, found none")
        for number, row in enumerate(rows):
            yield row, Place(file, number, folders, embedded)


def _read_table(file: Path) -> tuple[list[Any], frozenset[str]]:
    """A parquet file's rows without the bytes of images, and the columns that hold such."""
    table = pq.ParquetFile(file)
    present = set(table.schema_arrow.names)
    if not present & {"question", *CONVERSATIONS}:
        raise ValueError(f"no column 'question' or 'conversations' among {sorted(present)}")
    leaves = [table.schema.column(number).path for number in range(len(table.schema))]
    embedded = frozenset(leaf.split(".")[0] for leaf in leaves if leaf.endswith(".bytes")) & set(IMAGES)
    wanted = [leaf for leaf in leaves if leaf.split(".")[0] in {*COLUMNS, *IMAGES} and not leaf.endswith(".bytes")]
    return table.read(columns=wanted).to_pylist(), embedded
