"""Rows of published question sets as conversations about images.

Two forms, told apart row by row:

- SpatialReasoner's: ``question``, options ``A`` to ``D`` (any may be null, or all), ``answer``, ``answer_name``,
  ``answer_cot``, ``category``.
- LLaVA's and Qwen-VL's: ``conversations`` (or ``conversation``, ``messages``), turns of ``from`` human / gpt and
  ``value``, or of ``role`` user / assistant and ``content``.

Images are named by ``image``, ``images``, ``image_path`` or ``image_filename``. Other columns are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkvla.data.question_images import EmbeddedImage, ImageFile, StoredImage

LETTERS = ("A", "B", "C", "D")
CONVERSATIONS = ("conversations", "conversation", "messages")
IMAGES = ("image", "images", "image_path", "image_filename")
COLUMNS = ("question", *LETTERS, "answer", "answer_name", "answer_cot", "category", *CONVERSATIONS)
"""Columns that are read, besides those of images."""
IMAGE = "<image>"
_SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}


@dataclass(frozen=True)
class Entry:
    """One conversation whose images are not read yet.

    Attributes:
        images: in the order of the questions.
        turns: questions and answers; ``<image>`` says where images stand, unless all stand before the first question.
        category: kind of question, empty where the set does not say.
        asked: whether the row has SpatialReasoner's form.
    """

    images: tuple[StoredImage, ...]
    turns: tuple[tuple[str, str], ...]
    category: str
    asked: bool


@dataclass(frozen=True)
class Place:
    """Where a row stands.

    Attributes:
        file: that holds it.
        number: of the row in the file.
        folders: its images are looked for in.
        embedded: columns that hold images themselves.
    """

    file: Path
    number: int
    folders: tuple[Path, ...]
    embedded: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.file}: row {self.number}"


def parse_row(row: Any, place: Place) -> Entry:
    """One row as a conversation.

    Raises:
        ValueError: the row is broken; the message names it and the field.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{place}: expected an object, got {type(row).__name__}; remove the row")
    images = _images(row, place)
    turns = next((row[name] for name in CONVERSATIONS if row.get(name)), None)
    if turns is not None:
        return _conversation(row, turns, images, place)
    if not row.get("question"):
        raise ValueError(f"{place}: neither 'question' nor 'conversations' has a value; fill one or remove the row")
    return _question(row, images, place)


def render_question(question: str, options: Mapping[str, str | None]) -> str:
    """The question with its options on lines of their own: ``A. red cube``."""
    lines = [question, *(f"{letter}. {text}" for letter, text in options.items() if text is not None)]
    return "\n".join(lines)


def _images(row: Mapping[str, Any], place: Place) -> tuple[StoredImage, ...]:
    column = next((name for name in IMAGES if row.get(name)), None)
    if column is None:
        return ()
    items = row[column] if isinstance(row[column], list) else [row[column]]
    if column in place.embedded:
        return tuple(
            EmbeddedImage(place.file, column, place.number, number, place.folders) for number in range(len(items))
        )
    for item in items:
        if not isinstance(item, str):
            raise ValueError(f"{place}: '{column}' must name image files, got {type(item).__name__}; give their paths")
    return tuple(ImageFile(item, place.folders) for item in items)


def _question(row: Mapping[str, Any], images: tuple[StoredImage, ...], place: Place) -> Entry:
    if len(images) != 1:
        raise ValueError(f"{place}: expected one image, the row has {len(images)}; name it or remove the row")
    options = {letter: row.get(letter) or None for letter in LETTERS}
    said = row.get("answer_cot") or (None if any(options.values()) else row.get("answer"))
    if not said:
        raise ValueError(f"{place}: 'answer_cot' is empty; fill it or remove the row")
    if any(options.values()):
        _check_answer(row, options, said, place)
    turn = (render_question(row["question"], options), said)
    return Entry(images, (turn,), row.get("category") or "", asked=True)


def _check_answer(row: Mapping[str, Any], options: Mapping[str, str | None], said: str, place: Place) -> None:
    """The letter, the option's text and the reasoning's end must be one answer."""
    letter, name = row.get("answer"), row.get("answer_name")
    right = options.get(letter) if isinstance(letter, str) else None
    if right is None:
        raise ValueError(f"{place}: answer '{letter}' is none of its options {[k for k, v in options.items() if v]}")
    if name and name.strip().casefold() != right.strip().casefold():
        raise ValueError(f"{place}: option {letter} is '{right}', answer_name is '{name}'; correct or remove the row")
    final = re.findall(r"final answer is\W*([A-D])\b", said)
    if final and final[-1] != letter:
        raise ValueError(f"{place}: the answer is {letter}, but answer_cot ends with {final[-1]}; remove the row")


def _conversation(row: Mapping[str, Any], turns: Any, images: tuple[StoredImage, ...], place: Place) -> Entry:
    spoken = [_turn(turn, place) for turn in turns]
    # As LLaVA's own training does: what is said before the first question, or asked without an answer, is left out.
    spoken = spoken[1:] if spoken[0][0] == "gpt" else spoken
    spoken = spoken[:-1] if spoken and spoken[-1][0] == "human" else spoken
    speakers = [speaker for speaker, _ in spoken]
    if not spoken or speakers != ["human", "gpt"] * (len(spoken) // 2):
        raise ValueError(f"{place}: 'conversations' must take turns human, gpt, …; it has {speakers}; remove the row")
    pairs = [(ask[1], reply[1]) for ask, reply in zip(spoken[::2], spoken[1::2], strict=True)]
    places = sum(question.count(IMAGE) for question, _ in pairs)
    if places not in (0, len(images)):
        raise ValueError(f"{place}: has {len(images)} images, but says {IMAGE} {places} times; correct the row")
    cleaned = [(_trim(question), answer.strip()) for question, answer in pairs]
    # Images at the very beginning need no mark: that is where they stand without one.
    cleaned[0] = (cleaned[0][0].removeprefix(IMAGE * places) if places else cleaned[0][0], cleaned[0][1])
    if any(not question or not answer for question, answer in cleaned):
        raise ValueError(f"{place}: an empty question or answer; remove the row")
    return Entry(images, tuple(cleaned), row.get("category") or "", asked=False)


def _turn(turn: Any, place: Place) -> tuple[str, str]:
    """Who speaks, human or gpt, and what."""
    if not isinstance(turn, dict):
        raise ValueError(f"{place}: a turn must be an object with 'from' and 'value', got {type(turn).__name__}")
    speaker = turn.get("from") or turn.get("role")
    said = turn["value"] if turn.get("value") is not None else turn.get("content")
    if isinstance(said, list):  # Qwen-VL's parts
        said = "".join(_part(part, place) for part in said)
    if speaker not in _SPEAKERS or not isinstance(said, str):
        raise ValueError(f"{place}: a turn is by '{speaker}', expected text by one of {list(_SPEAKERS)}")
    return _SPEAKERS[speaker], said


def _part(part: Any, place: Place) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image":
        return IMAGE
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise ValueError(f"{place}: a part of a turn is '{kind}', expected 'text' or 'image'; remove the row")


def _trim(question: str) -> str:
    """A question without space at its ends and around images there; images in the middle stay as they stand."""
    bare = re.sub(rf"^(?:\s*{IMAGE})+\s*", lambda images: IMAGE * images[0].count(IMAGE), question.strip())
    return re.sub(rf"\s*(?:{IMAGE}\s*)+$", lambda images: IMAGE * images[0].count(IMAGE), bare)
