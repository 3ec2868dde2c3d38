"""A few frames and questions of a generated data set, for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from thinkvla.contract import Image
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.spatial_qa import QADataset

MOMENTS = (0.0, 0.35, 0.6, 0.9)
"""Where in an episode its frames are taken, as fractions of its length."""
DEMONSTRATIONS = 6
QUESTIONS = {"spatial_qa": 4, "general_qa": 2}
"""How many questions are shown of each set."""


@dataclass(frozen=True)
class EpisodeSample:
    """An instruction and frames along one of its demonstrations, as data URLs."""

    instruction: str
    frames: tuple[str, ...]


@dataclass(frozen=True)
class QuestionSample:
    """A question with its image (a data URL, or None for a text-only row) and the answer that is learned."""

    question: str
    answer: str
    category: str
    image: str | None


@dataclass(frozen=True)
class DatasetSamples:
    """What the report shows of a data set."""

    episodes: int
    frames: int
    demonstrations: tuple[EpisodeSample, ...]
    questions: tuple[QuestionSample, ...]


def draw_samples(dataset: Path) -> DatasetSamples:
    """Samples spread evenly over a data set that ``thinkvla.data.generate`` wrote; raises ValueError for another."""
    episodes = EpisodeDataset(dataset / "episodes")
    shown = []
    for record in (episodes.episodes[i] for i in _spread(len(episodes.episodes), DEMONSTRATIONS)):
        indices = [record.start + int(moment * record.length) for moment in MOMENTS]
        frames = tuple(
            png_url(np.concatenate([episodes.frames(i)[c] for c in episodes.embodiment.cameras], axis=1))
            for i in indices
        )
        shown.append(EpisodeSample(episodes.instruction(record.start), frames))
    rows: list[QuestionSample] = []
    for folder, count in QUESTIONS.items():
        source = QADataset(dataset / folder)
        for row in (source[i].first_question() for i in _spread(len(source), count)):
            image = None if row.image is None else png_url(row.image)
            rows.append(QuestionSample(row.question, row.answer, row.category, image))
    return DatasetSamples(len(episodes.episodes), len(episodes), tuple(shown), tuple(rows))


def png_url(image: Image) -> str:
    """An image, uint8 (H, W, 3), as a ``data:`` URL."""
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, format="PNG", optimize=True)
    return data_url("image/png", buffer.getvalue())


def data_url(kind: str, content: bytes) -> str:
    """Bytes of a MIME type as a ``data:`` URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _spread(length: int, count: int) -> Sequence[int]:
    """At most ``count`` different indices, evenly over ``range(length)``."""
    return [int(i) for i in np.unique(np.linspace(0, length - 1, min(count, length)).astype(int))] if length else []
