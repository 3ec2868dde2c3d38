"""Batches of pre-training: conversations about pictures as tokens with labels, and the classes of their patches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinkvla.method.batch import QuestionBatch, labelled_batch
from thinkvla.method.prompts import IGNORE, Prompt, Prompts
from thinkvla.preprocessor import prepare_images
from thinkvla.pretrain.pictures import COLOUR_CLASSES, SHAPE_CLASSES, UNSEEN, Turns, conversation, read_pictures
from thinkvla.train.order import shuffled

GOALS = 3
"""Things whose places the answer to an instruction tells: target, container, gripper."""
HELD_OUT = 0.02
"""Share of the moments, the last ones, that are never trained on."""


@dataclass(frozen=True)
class PictureBatch:
    """One batch.

    Attributes:
        talk: conversations, with labels on the assistant's turns.
        mentions_M2: row and token of every name in an instruction, its last token.
        places_MV2: column and row of the named thing in every view, as shares of the picture; NaN where out of sight.
        replies_K2: row and token of every place from which an instruction is answered, and of the answer itself.
        goals_K3V2: places of target, container and gripper of that instruction in every view; NaN where not told.
        shapes_NhwS: share of each patch that each of SHAPE_CLASSES covers, for every image in order.
        colours_NhwC: the same of COLOUR_CLASSES.
        centres_Nhw2: column and row, as shares of the picture, of the middle of what is visible of the thing, or of the
            gripper, that covers most of each patch; NaN where none covers a quarter.
    """

    talk: QuestionBatch
    mentions_M2: Tensor
    places_MV2: Tensor
    replies_K2: Tensor
    goals_K3V2: Tensor
    shapes_NhwS: Tensor
    colours_NhwC: Tensor
    centres_Nhw2: Tensor


class PictureBatches:
    """Batches by number, for a data loader without batching of its own: a pure function of seed and number.

    Args:
        folder: what ``write_pictures`` wrote.
        prompts: over the backbone's tokenizer.
        image_processor: of the backbone.
        batch_size: conversations in a batch.
        seed: of order and choice.
        length: batches of the run.
        held_out: take the moments that training leaves out.

    Raises:
        ValueError: the folder is not complete, or has too few moments.
    """

    def __init__(
        self,
        folder: Path,
        prompts: Prompts,
        image_processor: Any,
        *,
        batch_size: int,
        seed: int,
        length: int,
        held_out: bool = False,
    ) -> None:
        self.images, self.labels, self.talk = read_pictures(folder)
        split = round(len(self.images) * (1 - HELD_OUT))
        self.moments = range(split, len(self.images)) if held_out else range(split)
        if not self.moments:
            raise ValueError(f"{folder}: {len(self.images)} moments are too few to hold any out; make more")
        self.prompts, self.image_processor = prompts, image_processor
        self.batch_size, self.seed, self.length = batch_size, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> PictureBatch:
        images, labels, talks = [], [], []
        for position in range(number * self.batch_size, (number + 1) * self.batch_size):
            moment = self.moments[shuffled(position, len(self.moments), self.seed)]
            view, turns = conversation(self.talk[moment], np.random.default_rng([self.seed, position]))
            views = range(self.images.shape[1]) if view is None else [view]
            images += [self.images[moment, v] for v in views]
            labels += [self.labels[moment, v] for v in views]
            talks.append((turns, len(views)))
        pixels, grids, sizes = prepare_images(self.image_processor, images)
        assert grids is not None, "every conversation is about a picture"
        remaining = iter(sizes)
        prompts = [self.prompts.conversation(turns, list(islice(remaining, views))) for turns, views in talks]
        found = [
            (row, *mention)
            for row, (turns, views) in enumerate(talks)
            if views == self.images.shape[1]
            for mention in self._mentions(turns, prompts[row].ids)
        ]
        replies = [
            (row, token, goal)
            for row, (turns, views) in enumerate(talks)
            if views == self.images.shape[1]
            for span, goal in zip(_answer_spans(prompts[row]), map(_goal, turns), strict=True)
            for token in span
        ]
        rows, columns = (int(n) for n in grids[0, 1:])
        stacked = np.stack(labels)
        return PictureBatch(
            labelled_batch(prompts, pixels, grids),
            torch.tensor([[row, token] for row, token, _ in found], dtype=torch.long).view(-1, 2),
            torch.tensor([place for *_, place in found]).view(-1, self.images.shape[1], 2),
            torch.tensor([[row, token] for row, token, _ in replies], dtype=torch.long).view(-1, 2),
            torch.tensor([goal for *_, goal in replies]).view(-1, GOALS, self.images.shape[1], 2),
            _shares(stacked[..., 0], rows, columns, len(SHAPE_CLASSES)),
            _shares(stacked[..., 1], rows, columns, len(COLOUR_CLASSES)),
            torch.from_numpy(np.stack([_centres(label, rows, columns) for label in stacked])),
        )

    def _mentions(self, turns: Turns, ids: Sequence[int]) -> Iterator[tuple[int, list[list[float]]]]:
        """Last token of every name in the instructions of a talk, and the places that its answer tells."""
        start = 0
        for question, answer in turns:
            for line in answer.splitlines():
                name, places = line.split(": ")
                token = _find(ids, self._tokens(f" {name}"), start)
                if f" {name}" in question and token is not None:
                    yield token, [_share(place) for place in places.split("; ")]
            start = _find(ids, self._tokens(question.splitlines()[-1]), start) or start

    def _tokens(self, text: str) -> list[int]:
        return list(self.prompts.tokenizer(text, add_special_tokens=False)["input_ids"])


def _find(ids: Sequence[int], wanted: Sequence[int], start: int) -> int | None:
    """Place of the last of the ``wanted`` tokens where they first stand in a row in ``ids`` from ``start`` on."""
    size = len(wanted)
    return next((i + size - 1 for i in range(start, len(ids) - size + 1) if list(ids[i : i + size]) == wanted), None)


def _answer_spans(prompt: Prompt) -> list[range]:
    """For each answer of a conversation, its tokens and the one before it, from which it begins."""
    assert prompt.labels is not None, "a conversation has labels"
    told = [label != IGNORE for label in prompt.labels]
    begins = [i for i in range(1, len(told)) if told[i] and not told[i - 1]]
    ends = [i for i in range(1, len(told) + 1) if told[i - 1] and (i == len(told) or not told[i])]
    return [range(begin - 1, end) for begin, end in zip(begins, ends, strict=True)]


def _goal(turn: tuple[str, str]) -> list[list[list[float]]]:
    """Places of target, container and gripper, (GOALS, V, 2) shares, from an answer; NaN where it does not tell."""
    told = [[_share(place) for place in line.split(": ")[1].split("; ")] for line in turn[1].splitlines()]
    views = max(map(len, told))
    return [places + [[math.nan] * 2] * (views - len(places)) for places in told]


def _share(place: str) -> list[float]:
    """``17, 63`` in percent → shares; NaN where the thing is out of sight."""
    return [math.nan] * 2 if place == UNSEEN else [int(number) / 100 for number in place.split(", ")]


def _shares(labels_NHW: NDArray[np.uint8], rows: int, columns: int, classes: int) -> Tensor:
    """Share of each class among the labelled points of each patch: (N, rows, columns, classes)."""
    count, height, width = labels_NHW.shape
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels_NHW).long(), classes).float()
    blocks = one_hot.view(count, rows, height // rows, columns, width // columns, classes)
    return blocks.mean(dim=(2, 4))


def _centres(labels_HW2: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]:
    """Middle of the thing that covers most of each patch, (rows, columns, 2), NaN where none covers a quarter."""
    shapes, colours = labels_HW2[..., 0].astype(int), labels_HW2[..., 1].astype(int)
    none, gripper = len(COLOUR_CLASSES) - 1, SHAPE_CLASSES.index("gripper")
    things = np.where((colours != none) | (shapes == gripper), shapes * len(COLOUR_CLASSES) + colours, -1)
    height, width = things.shape
    centres = np.full((rows, columns, 2), np.nan, np.float32)
    most = np.full((rows, columns), 0.25, np.float32)
    for thing in np.unique(things[things >= 0]):
        covered = things == thing
        y, x = np.nonzero(covered)
        share = covered.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3))
        here = share >= most
        centres[here] = (x.mean() + 0.5) / width, (y.mean() + 0.5) / height
        most[here] = share[here]
    return centres
