"""Questions of different lengths in few rows of equal length, so that hardly any of a batch is padding.

Which questions make up a batch stays as it is; only their rows change. Each sees itself alone and is counted from
position 0 (``method/packing.py``), so losses and gradients are those of one row a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

import torch
from torch import Tensor

from thinkvla.method.batch import LENGTH_STEP, QuestionBatch, labelled_batch
from thinkvla.method.prompts import QUESTION, Prompt

PADDING = 0.1
"""Largest share of padding in a batch of packed questions."""


def pack_rows(lengths: Sequence[int], multiple: int) -> list[list[int]]:
    """Which questions of a batch share a row, so that less than PADDING of the tokens are padding.

    The most rows that allow it, because attention costs the square of a row's length; the longest question first, each
    into the row with the most room. One row has no padding but what rounds it to a multiple of ``multiple`` tokens.

    Args:
        lengths: tokens of each question.
        multiple: rows are as long as the longest, rounded up to a multiple of this.

    Returns:
        For each row, the numbers of its questions.
    """
    longest_first = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    for count in range(len(lengths), 0, -1):
        rows: list[list[int]] = [[] for _ in range(count)]
        room = [(0, row) for row in range(count)]
        for number in longest_first:
            load, row = heappop(room)
            rows[row].append(number)
            heappush(room, (load + lengths[number], row))
        longest = -(-max(room)[0] // multiple) * multiple
        if sum(lengths) > (1 - PADDING) * longest * count:
            break
    return rows


def packed_batch(
    prompts: Sequence[Prompt], images: Sequence[int], pixels: Tensor | None, grids_N3: Tensor | None
) -> QuestionBatch:
    """Questions, several in a row, as one batch.

    Args:
        prompts: B questions with labels.
        images: number of images of each question.
        pixels: patches of all images, in the order of the questions; None without images.
        grids_N3: patch grid of each image; None without images.
    """
    rows = pack_rows([len(prompt.ids) for prompt in prompts], LENGTH_STEP)
    if pixels is not None and grids_N3 is not None:  # images follow their questions into the rows
        patches = iter(zip(pixels.split(grids_N3.prod(dim=1).tolist()), grids_N3, strict=True))
        of_question = [[next(patches) for _ in range(count)] for count in images]
        ordered = [image for row in rows for number in row for image in of_question[number]]
        pixels, grids_N3 = (torch.cat([image[0] for image in ordered]), torch.stack([image[1] for image in ordered]))
    return labelled_batch([_joined([prompts[number] for number in row]) for row in rows], pixels, grids_N3)


def _joined(prompts: Sequence[Prompt]) -> Prompt:
    """Questions as one sequence, each a segment of its own."""
    return Prompt(
        tuple(token for prompt in prompts for token in prompt.ids),
        tuple(QUESTION + number for number, prompt in enumerate(prompts) for _ in prompt.ids),
        tuple(label for prompt in prompts for label in prompt.labels or ()),
    )
