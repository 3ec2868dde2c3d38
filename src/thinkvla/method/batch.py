"""What the policy is fed: token sequences with their images, and the targets of each kind of batch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from thinkvla.method.prompts import IGNORE, PAD, PREFIX, QUESTION, Prompt

LENGTH_STEP = 16
"""Training batches are padded to a multiple of so many tokens: libraries prepare, and keep, kernels for every shape."""


class _Movable:
    """Moves every tensor of a dataclass, nested ones included, to a device."""

    def to(self, device: torch.device | str) -> Self:
        """The same batch on ``device``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{name: v.to(device) if hasattr(v, "to") else v for name, v in values.items()})


@dataclass(frozen=True)
class Tokens(_Movable):
    """Prompts of a batch, padded on the right, and the pixels of their images.

    Attributes:
        ids_BL: token ids.
        segments_BL: PREFIX, STUDENT, TEACHER, a number from QUESTION on, or PAD.
        pixels: flattened patches of all images in order, (patches, pixels of a patch); None without images.
        grids_N3: patch grid (time, height, width) of each image; None without images.
        points_NhwG: codes of the patches' true 3D points, for a policy that is given them.
    """

    ids_BL: Tensor
    segments_BL: Tensor
    pixels: Tensor | None
    grids_N3: Tensor | None
    points_NhwG: Tensor | None = None

    def with_rows(self, ids: list[Tensor], segments: list[Tensor]) -> Tokens:
        """Other rows over the same images, padded on the right."""
        pad = torch.nn.utils.rnn.pad_sequence
        padded = pad(segments, batch_first=True, padding_value=PAD)
        return replace(self, ids_BL=pad(ids, batch_first=True), segments_BL=padded)

    def only(self, segment: int) -> Tokens:
        """The same prompts with the prefix and one suffix, as a plain forward of that prompt alone sees them."""
        kept = [(row == PREFIX) | (row == segment) for row in self.segments_BL]
        ids = [row[keep] for row, keep in zip(self.ids_BL, kept, strict=True)]
        segments = [row[keep] for row, keep in zip(self.segments_BL, kept, strict=True)]
        return self.with_rows(ids, segments)


@dataclass(frozen=True)
class RobotBatch(_Movable):
    """One batch of demonstrations.

    Attributes:
        tokens: prefix | student | teacher prompts, the same number of views in each.
        actions_BCA: normalized actions, float32.
        valid_BC: False where the chunk reaches past its episode's end.
        geometry_BVhwG: the geometry teacher's features, or None without a geometry adapter.
        draws_B2: uniform random numbers in [0, 1) for the dropout of the geometry and the reasoning branch; None drops
            nothing.
        windows_BV4: crop of each view, (top, left, height, width) in shares of it; None where views are whole.
    """

    tokens: Tokens
    actions_BCA: Tensor
    valid_BC: Tensor
    geometry_BVhwG: Tensor | None
    draws_B2: Tensor | None = None
    windows_BV4: Tensor | None = None


@dataclass(frozen=True)
class QuestionBatch(_Movable):
    """One batch of questions.

    Attributes:
        tokens: question and answer prompts, one or several in a row.
        labels_BL: the token to be predicted *at* each place, IGNORE elsewhere (not shifted).
    """

    tokens: Tokens
    labels_BL: Tensor

    def apart(self) -> QuestionBatch:
        """The same questions in the same order, each in a row of its own, for attention without a block mask."""
        if not (self.tokens.segments_BL >= QUESTION).any():
            return self
        ids, segments, labels = [], [], []
        for ids_L, segments_L, labels_L in zip(
            self.tokens.ids_BL, self.tokens.segments_BL, self.labels_BL, strict=True
        ):
            asked = segments_L[segments_L >= QUESTION].unique_consecutive()
            for chosen_L in [segments_L == segment for segment in asked] if len(asked) else [segments_L != PAD]:
                ids.append(ids_L[chosen_L])
                segments.append(segments_L[chosen_L].where(segments_L[chosen_L] < QUESTION, PREFIX))
                labels.append(labels_L[chosen_L])
        padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORE)
        return QuestionBatch(self.tokens.with_rows(ids, segments), padded)


def pad_prompts(prompts: list[Prompt], pixels: Tensor | None, grids_N3: Tensor | None, multiple: int = 1) -> Tokens:
    """Stack prompts of different lengths into one batch, padded on the right to a ``multiple`` of tokens."""
    longest = max(len(prompt.ids) for prompt in prompts)
    length = -(-longest // multiple) * multiple
    ids = torch.zeros(len(prompts), length, dtype=torch.long)
    segments = torch.full((len(prompts), length), PAD, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.ids)] = torch.tensor(prompt.ids)
        segments[row, : len(prompt.ids)] = torch.tensor(prompt.segments)
    return Tokens(ids, segments, pixels, grids_N3)


def labelled_batch(prompts: list[Prompt], pixels: Tensor | None, grids_N3: Tensor | None) -> QuestionBatch:
    """Stack prompts with labels into one training batch, padded to a multiple of LENGTH_STEP."""
    tokens = pad_prompts(prompts, pixels, grids_N3, LENGTH_STEP)
    labels = torch.full_like(tokens.ids_BL, IGNORE)
    for row, prompt in enumerate(prompts):
        labels[row, : len(prompt.ids)] = torch.tensor(prompt.labels)
    return QuestionBatch(tokens, labels)
