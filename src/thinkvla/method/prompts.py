"""The three prompts of the paper as token sequences, and where anchor and action queries sit in them.

All begin with the same prefix ``[images, task]``::

    action (student)     prefix | τ_R | L_action | τ_A
    reasoning (teacher)  prefix | L_teacher | assistant turn, τ_R
    question answering   images, question | assistant turn, τ_R, answer

Each part is tokenized on its own, so a part has the same tokens whichever prompts stand beside it. A training
sequence is ``prefix | student | teacher``; the segment of each token says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from thinkvla.method.config import MethodConfig

PAD, PREFIX, STUDENT, TEACHER = -1, 0, 1, 2
QUESTION = 3  # segment of a packed row's first question; the next ones count on from here
IGNORE = -100  # label of a token that is not predicted
IMAGE = "<image>"  # where an image stands in a question

ACTION_PROMPT = "\nPredict the next {chunk} robot actions."
REASONING_PROMPT = "\nReason about this scene in 3D, step by step."


def anchor_token(index: int) -> str:
    """Name of the ``index``-th token of the reasoning anchor."""
    return f"<|reasoning_{index}|>"


def query_token(index: int) -> str:
    """Name of the action query of the chunk's ``index``-th step."""
    return f"<|action_{index}|>"


def new_tokens(config: MethodConfig) -> list[str]:
    """Special tokens the method adds to a vocabulary: anchor first, then one query per step of the chunk."""
    return [anchor_token(i) for i in range(config.anchors)] + [query_token(i) for i in range(config.chunk)]


class TextEncoder(Protocol):
    """A tokenizer, as far as prompts need one; special tokens written in the text become their own ids."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        """Tokens of ``text`` under the key ``input_ids``."""
        ...


@dataclass(frozen=True)
class Prompt:
    """One token sequence.

    Attributes:
        ids: L token ids.
        segments: L values: PREFIX, STUDENT or TEACHER, or QUESTION and onwards in a row of packed questions.
        labels: L values for question answering, IGNORE where nothing is predicted; None for robot prompts.
    """

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    labels: tuple[int, ...] | None = None


class Prompts:
    """Writes the three prompts for one tokenizer and one method configuration.

    Args:
        tokenizer: knows Qwen's chat and vision tokens, and ``new_tokens(config)``.
        config: the method.
        action_text: L_action [open in the paper]; ``{chunk}`` becomes the chunk length.
        reasoning_text: L_teacher [open in the paper].
    """

    def __init__(
        self,
        tokenizer: TextEncoder,
        config: MethodConfig,
        action_text: str = ACTION_PROMPT,
        reasoning_text: str = REASONING_PROMPT,
    ) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.anchor = self._ids("".join(anchor_token(i) for i in range(config.anchors)))
        self.queries = self._ids("".join(query_token(i) for i in range(config.chunk)))
        self.turn_start = self._ids("<|im_start|>user\n")
        self.turn_change = self._ids("<|im_end|>\n<|im_start|>assistant\n")
        self.turn_end = self._ids("<|im_end|>\n")
        self.action_text = self._ids(action_text.format(chunk=config.chunk))
        self.reasoning_text = self._ids(reasoning_text)

    def action(self, instruction: str, image_tokens: Sequence[int]) -> Prompt:
        """Deployment: the student alone. ``image_tokens`` gives the number of language tokens of each view."""
        return self._join(self._prefix(instruction, image_tokens), self._student())

    def co_training(self, instruction: str, image_tokens: Sequence[int]) -> Prompt:
        """Training: student, and the teacher beside it if the method distils."""
        teacher = self._teacher() if self.config.distils else []
        return self._join(self._prefix(instruction, image_tokens), self._student(), teacher)

    def conversation(
        self, turns: Sequence[tuple[str, str]], image_tokens: Sequence[int], *, spatial: bool = False
    ) -> Prompt:
        """Questions and answers in turn, with labels on every assistant turn; spatial answers begin with the anchor.

        Images stand where the questions say ``<image>``, or all before the first question if none says so.

        Raises:
            ValueError: the questions have places for another number of images.
        """
        places = [question.count(IMAGE) for question, _ in turns]
        if any(places) and sum(places) != len(image_tokens):
            raise ValueError(f"a conversation has {len(image_tokens)} images, but says {IMAGE} {sum(places)} times")
        if not any(places):
            places[0] = len(image_tokens)
        remaining = iter(image_tokens)
        ids: list[int] = []
        labels: list[int] = []
        for (question, answer), count in zip(turns, places, strict=True):
            asked = self._asked(question, list(islice(remaining, count))) + self.turn_change
            answered = (self.anchor if spatial else []) + self._ids(answer) + self.turn_end
            ids += asked + answered
            labels += [IGNORE] * len(asked) + answered
        return Prompt(tuple(ids), (PREFIX,) * len(ids), tuple(labels))

    def ask(self, question: str, image_tokens: Sequence[int], *, spatial: bool) -> Prompt:
        """A question to be answered by generation; the anchor is given, as it is always the first output token."""
        ids = self._prefix(question, image_tokens) + self.turn_change + (self.anchor if spatial else [])
        return Prompt(tuple(ids), (PREFIX,) * len(ids))

    def _prefix(self, text: str, image_tokens: Sequence[int]) -> list[int]:
        return self.turn_start + self._images(image_tokens) + self._ids(text)

    def _asked(self, question: str, image_tokens: Sequence[int]) -> list[int]:
        before, *pieces = question.split(IMAGE)
        if not pieces:
            return self._prefix(question, image_tokens)
        ids = self.turn_start + self._ids(before)
        for size, piece in zip(image_tokens, pieces, strict=True):
            ids = ids + self._images([size]) + self._ids(piece)
        return ids

    def _images(self, image_tokens: Sequence[int]) -> list[int]:
        return self._ids("".join("<|vision_start|>" + "<|image_pad|>" * n + "<|vision_end|>" for n in image_tokens))

    def _student(self) -> list[int]:
        return self.anchor + self.action_text + self.turn_change + self.queries

    def _teacher(self) -> list[int]:
        return self.reasoning_text + self.turn_change + self.anchor

    def _join(self, prefix: list[int], student: list[int], teacher: Sequence[int] = ()) -> Prompt:
        segments = (PREFIX,) * len(prefix) + (STUDENT,) * len(student) + (TEACHER,) * len(teacher)
        return Prompt((*prefix, *student, *teacher), segments)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
