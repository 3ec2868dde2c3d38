"""Which samples make up which micro-batch: a pure function of the seed and the micro-batch's number.

Nothing has to be remembered to resume a run: micro-batch 1000 holds the same samples whether the run began there or
at 0, and however many processes prepare it.
"""

from __future__ import annotations

from dataclasses import dataclass

from thinkvla.method.batch import QuestionBatch, RobotBatch
from thinkvla.preprocessor import Preprocessor
from thinkvla.train.question_stream import QuestionStream
from thinkvla.train.robot_stream import RobotStream


@dataclass(frozen=True)
class MicroBatch:
    """Demonstrations and, if the method co-trains on any, questions."""

    robot: RobotBatch
    questions: QuestionBatch | None


class CoTrainingData:
    """Micro-batches by number, for a data loader without batching of its own.

    Args:
        preprocessor: makes tensors of samples.
        robot: the stream of demonstrations.
        questions: the stream of questions, or None.
        batch_size: demonstrations in one micro-batch of one process.
        question_batch_size: questions in one micro-batch of one process.
        seed: of the order.
        process: rank of this process and number of processes; together they walk one stream.
        length: micro-batches in the whole run.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        robot: RobotStream,
        questions: QuestionStream | None,
        *,
        batch_size: int,
        question_batch_size: int,
        seed: int,
        process: tuple[int, int],
        length: int,
    ) -> None:
        self.preprocessor = preprocessor
        self.robot = robot
        self.questions = questions
        self.batch_size = batch_size
        self.question_batch_size = question_batch_size
        self.seed = seed
        self.process = process
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> MicroBatch:
        robot = self.robot.batch(self._positions(number, self.batch_size), self.preprocessor)
        questions = None
        if self.questions is not None:
            questions = self.questions.batch(self._positions(number, self.question_batch_size), self.preprocessor)
        return MicroBatch(robot, questions)

    def held_out(self, number: int) -> RobotBatch:
        """Batch ``number`` of demonstrations that are not trained on, the same in every run."""
        return self.robot.held_out(range(number * self.batch_size, (number + 1) * self.batch_size), self.preprocessor)

    def _positions(self, number: int, size: int) -> range:
        rank, processes = self.process
        start = (number * processes + rank) * size
        return range(start, start + size)
