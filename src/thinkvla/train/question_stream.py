"""The stream of questions a run co-trains on: spatial and general sets, mixed by share and weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thinkvla.data.spatial_qa import QADataset
from thinkvla.method.batch import QuestionBatch
from thinkvla.preprocessor import Preprocessor, QuestionSample
from thinkvla.train.order import mixed, shuffled


@dataclass(frozen=True)
class Mixture:
    """Sets of one kind, drawn from by weight; without weights, every row is drawn alike.

    Attributes:
        sets: at least one.
        weights: positive, one a set.
    """

    sets: tuple[QADataset, ...]
    weights: tuple[float, ...]

    @staticmethod
    def of(sets: Sequence[QADataset], weights: Sequence[float]) -> Mixture:
        """Sets with their weights, or without any for weights by rows."""
        return Mixture(tuple(sets), tuple(weights) or tuple(float(len(one)) for one in sets))


class QuestionStream:
    """Questions by position: a pure function of the seed, so a run can be taken up anywhere.

    Args:
        mixtures: spatial and general sets, or those of one kind.
        shares: of each mixture among the questions, positive.
        seed: of the order.
        packed: whether several questions share a row of a batch.
    """

    def __init__(self, mixtures: Sequence[Mixture], shares: Sequence[float], *, seed: int, packed: bool) -> None:
        self.mixtures = tuple(mixtures)
        self.shares = tuple(shares)
        self.seed = seed
        self.packed = packed

    @property
    def sets(self) -> list[QADataset]:
        """All sets that questions come from."""
        return [one for mixture in self.mixtures for one in mixture.sets]

    def place(self, position: int) -> tuple[QADataset, int]:
        """The set and the row that stand at ``position`` of the stream."""
        kind, position = mixed(position, self.shares)
        number, position = mixed(position, self.mixtures[kind].weights)
        source = self.mixtures[kind].sets[number]
        return source, shuffled(position, len(source), self.seed)

    def batch(self, positions: Iterable[int], preprocessor: Preprocessor) -> QuestionBatch:
        """The questions at ``positions`` as tensors."""
        found = [source[row] for source, row in map(self.place, positions)]
        samples = [QuestionSample(one.images, one.turns, one.spatial) for one in found]
        return preprocessor.question_batch(samples, packed=self.packed)
