"""Images of question sets: files beside the rows, or bytes inside a parquet file; read when they are asked for."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow

from thinkvla.contract import Image

LARGEST_ROW_GROUP = 512 * 2**20
_READING = Lock()  # one thread at a time in a parquet reader
_BROKEN = (OSError, SyntaxError, ValueError, struct.error, Pillow.DecompressionBombError)  # what Pillow raises


@dataclass(frozen=True)
class ImageFile:
    """An image by the name a row gives, in the first of some folders that has it.

    Attributes:
        name: relative to a folder, or an absolute path.
        folders: looked in, in this order.
    """

    name: str
    folders: tuple[Path, ...]

    def read(self) -> Image:
        """The image as uint8 (H, W, 3) RGB; raises ValueError naming the file if it cannot be read."""
        paths = [folder / self.name for folder in self.folders]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            others = f" (nor in {', '.join(str(f) for f in self.folders[1:])})" if paths[1:] else ""
            raise ValueError(
                f"{paths[0]}: the image cannot be read (no such file there{others}); restore it, remove its rows, or "
                "name the folder of the images"
            )
        return _decode(found, str(found))


@dataclass(frozen=True)
class EmbeddedImage:
    """An image in a parquet file, in the Hub's form: a struct of ``bytes`` and ``path``, or a list of such.

    Attributes:
        file: the parquet file.
        column: its column of images.
        row: row of the file.
        item: place in the row's list.
        folders: looked in where a struct has a path but no bytes.
    """

    file: Path
    column: str
    row: int
    item: int
    folders: tuple[Path, ...]

    def read(self) -> Image:
        """The image as uint8 (H, W, 3) RGB; raises ValueError naming file, row and column if it cannot be read."""
        where = f"{self.file}: row {self.row}: {self.column}"
        starts = _row_groups(self.file)
        group = int(np.searchsorted(starts, self.row, side="right")) - 1
        cell = _column_of(self.file, self.column, group)[self.row - starts[group]].as_py()
        value = cell[self.item] if isinstance(cell, list) else cell
        if value["bytes"] is not None:
            return _decode(io.BytesIO(value["bytes"]), where)
        if value.get("path"):
            return ImageFile(value["path"], self.folders).read()
        raise ValueError(f"{where}: the image cannot be read (neither bytes nor a path); remove the row")


StoredImage = ImageFile | EmbeddedImage


def _decode(source: Path | io.BytesIO, where: str) -> Image:
    try:
        with Pillow.open(source) as image:
            return np.asarray(image.convert("RGB"))
    except _BROKEN as error:
        raise ValueError(f"{where}: the image cannot be read ({error}); restore it or remove its rows") from error


@lru_cache(maxsize=64)
def _open(file: Path) -> Any:
    return pq.ParquetFile(file, memory_map=True)


@lru_cache(maxsize=64)
def _row_groups(file: Path) -> list[int]:
    """First row of each row group of a parquet file."""
    metadata = _open(file).metadata
    return [0, *accumulate(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups))][:-1]


@lru_cache(maxsize=2)
def _column_of(file: Path, column: str, group: int) -> Any:
    """One column of one row group, which is what a parquet file lets us read at once."""
    size = _open(file).metadata.row_group(group).total_byte_size
    if size > LARGEST_ROW_GROUP:
        raise ValueError(
            f"{file}: a row group has {size / 2**20:.0f} MB, and all of it is read for one image; write the file again "
            "with row groups of about 100 rows, or with its images as files"
        )
    try:
        with _READING:
            return _open(file).read_row_group(group, columns=[column], use_threads=False)[column]
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{file}: row group {group} cannot be read ({error}); restore the file") from error
