"""Sets of questions about images, with answers: a folder, a file, or a data set on the Hugging Face Hub.

``question_rows`` says which rows are read, ``question_files`` which files. A set may hold SpatialReasoner's rows and
LLaVA's side by side, as the one that SpatialReasoner was trained on does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from thinkvla.contract import Image
from thinkvla.data.hub import Source, find_source
from thinkvla.data.question_files import question_files, read_rows
from thinkvla.data.question_images import StoredImage
from thinkvla.data.question_rows import IMAGE, Entry, parse_row
from thinkvla.progress import progress

MOST_UNREADABLE = 0.05
"""Largest share of a set's rows that may be left out for their images."""
_MANY_ROWS = 50_000
_THREADS = 8


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
class Conversation:
    """Questions and answers about images.

    Attributes:
        images: uint8 (H, W, 3) RGB, of any sizes.
        turns: questions and answers; ``<image>`` says where images stand, unless all stand before the first question.
        category: kind of question, empty where the set does not say.
        spatial: whether it is about 3D space.
    """

    images: tuple[Image, ...]
    turns: tuple[tuple[str, str], ...]
    category: str
    spatial: bool

    def first_question(self) -> QARow:
        """The first question alone; raises ValueError if it is about several images."""
        question, answer = self.turns[0]
        if len(self.images) > 1 or IMAGE in question:
            raise ValueError(
                f"the question '{question}' is about {len(self.images)} images inside its text; one image before the "
                "question, or none, is supported here; remove the row"
            )
        return QARow(self.images[0] if self.images else None, question, answer, self.category, self.spatial)


class QADataset:
    """A set of conversations; texts are in memory, images are read when their row is asked for.

    Attributes:
        source: where it was found.
        entries: the conversations, images not read.
        spatial: whether they are about 3D space; None lets each row's form say so (SpatialReasoner's is).
        left_out: rows left out because an image cannot be read.
    """

    def __init__(self, address: Path | str, images: Sequence[Path] = (), spatial: bool | None = None) -> None:
        """Open a set.

        Args:
            address: a folder, a ``.parquet``, ``.json`` or ``.jsonl`` file, or ``hf://owner/name@revision``.
            images: folders in which images are looked for that are not beside the rows.
            spatial: what the set is to be used for. If its rows have both forms, only those of the right form are
                taken: SpatialReasoner's for spatial use, LLaVA's for general use. None takes all, by their form.

        Raises:
            ValueError: nothing to read there, or a row is broken; the message names file, row and field.
        """
        self.source: Source = find_source(address)
        rows = list(read_rows(self.source.path, images))
        if len(rows) > _MANY_ROWS:
            with progress("row") as display:
                entries = [parse_row(*row) for row in display.track(rows, description="reading questions")]
        else:
            entries = [parse_row(*row) for row in rows]
        of_form = [entry for entry in entries if entry.asked == spatial]
        self.entries: Sequence[Entry] = entries if spatial is None else of_form or entries
        self.spatial = spatial
        self.left_out = 0

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Conversation:
        entry = self.entries[index]
        spatial = entry.asked if self.spatial is None else self.spatial
        return Conversation(tuple(image.read() for image in entry.images), entry.turns, entry.category, spatial)

    @property
    def categories(self) -> list[str]:
        """The category of every row, in order."""
        return [entry.category for entry in self.entries]

    def readable(self) -> QADataset:
        """The set without the rows of which an image cannot be read; every image is tried once.

        Raises:
            ValueError: more than ``MOST_UNREADABLE`` of the rows would be left out.
        """
        broken = unreadable_images(image for entry in self.entries for image in entry.images)
        kept = [entry for entry in self.entries if not any(image in broken for image in entry.images)]
        left_out = len(self.entries) - len(kept)
        if left_out > MOST_UNREADABLE * len(self.entries):
            raise ValueError(
                f"{self.source.address}: images of {left_out} of {len(self.entries)} rows cannot be read, more than "
                f"{MOST_UNREADABLE:.0%}; the first: {next(iter(broken.values()))}"
            )
        found = copy(self)
        found.entries, found.left_out = kept, left_out
        return found

    def fingerprint(self) -> str:
        """SHA-256 (first 16 hex digits) over the files of rows; of parquet files over their footers and sizes."""
        digest = hashlib.sha256()
        for file in question_files(self.source.path):
            digest.update(f"{file.name} {file.stat().st_size} ".encode())
            if file.suffix == ".parquet":
                digest.update(str(pq.read_metadata(file).to_dict()).encode())
            else:
                digest.update(file.read_bytes())
        return digest.hexdigest()[:16]


def unreadable_images(images: Iterable[StoredImage]) -> dict[StoredImage, str]:
    """Images that cannot be read, and why; each is tried once."""
    different = list(dict.fromkeys(images))
    with progress("image") as display, ThreadPoolExecutor(_THREADS) as threads:
        tried = threads.map(_problem, different)
        found = display.track(tried, total=len(different), description="reading images")
        return {image: problem for image, problem in zip(different, found, strict=True) if problem is not None}


def _problem(image: StoredImage) -> str | None:
    try:
        image.read()
    except ValueError as error:
        return str(error)
    return None
