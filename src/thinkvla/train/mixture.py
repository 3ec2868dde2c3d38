"""Which samples make up which micro-batch: a pure function of the seed and the micro-batch's number.

Nothing has to be remembered to resume a run: micro-batch 1000 holds the same samples whether the run began there or
at 0, and however many processes prepare it.
"""

from __future__ import annotations

from dataclasses import dataclass

from thinkvla.contract import Observation
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.method.batch import QuestionBatch, RobotBatch
from thinkvla.preprocessor import Preprocessor, RobotSample
from thinkvla.teachers.cache import FeatureCache
from thinkvla.train.order import shuffled
from thinkvla.train.question_stream import QuestionStream


@dataclass(frozen=True)
class MicroBatch:
    """Demonstrations and, if the method co-trains on any, questions."""

    robot: RobotBatch
    questions: QuestionBatch | None


class CoTrainingData:
    """Micro-batches by number, for a data loader without batching of its own.

    Args:
        preprocessor: makes tensors of samples.
        episodes: demonstrations.
        geometry: the teacher's features of the same frames, or None.
        questions: the stream of questions, or None.
        chunk: actions per sample.
        batch_size: demonstrations in one micro-batch of one process.
        question_batch_size: questions in one micro-batch of one process.
        seed: of the order.
        process: rank of this process and number of processes; together they walk one stream.
        length: micro-batches in the whole run.
        held_out: share of the episodes, the last ones, that are not trained on.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        episodes: EpisodeDataset,
        geometry: FeatureCache | None,
        questions: QuestionStream | None,
        *,
        chunk: int,
        batch_size: int,
        question_batch_size: int,
        seed: int,
        process: tuple[int, int],
        length: int,
        held_out: float = 0.0,
    ) -> None:
        self.preprocessor = preprocessor
        self.episodes = episodes
        count = len(episodes.episodes)
        kept = count - round(count * held_out)
        self.frames = range(episodes.episodes[kept].start if kept < count else len(episodes))
        self.held_out_frames = range(self.frames.stop, len(episodes))
        self.geometry = geometry
        self.questions = questions
        self.chunk = chunk
        self.batch_size = batch_size
        self.question_batch_size = question_batch_size
        self.seed = seed
        self.process = process
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> MicroBatch:
        positions = self._positions(number, self.batch_size)
        robot = [self._demonstration(shuffled(p, len(self.frames), self.seed)) for p in positions]
        questions = None
        if self.questions is not None:
            questions = self.questions.batch(self._positions(number, self.question_batch_size), self.preprocessor)
        return MicroBatch(self.preprocessor.robot_batch(robot), questions)

    def held_out(self, number: int) -> RobotBatch:
        """Batch ``number`` of demonstrations that are not trained on, the same in every run."""
        places = range(number * self.batch_size, (number + 1) * self.batch_size)
        frames = [self.held_out_frames[shuffled(p, len(self.held_out_frames), seed=0)] for p in places]
        return self.preprocessor.robot_batch([self._demonstration(frame) for frame in frames])

    def _positions(self, number: int, size: int) -> range:
        rank, processes = self.process
        start = (number * processes + rank) * size
        return range(start, start + size)

    def _demonstration(self, index: int) -> RobotSample:
        actions, padding = self.episodes.actions(index, self.chunk)
        return RobotSample(
            Observation(self.episodes.frames(index), self.episodes.instruction(index)),
            actions,
            ~padding,
            self.geometry[index] if self.geometry is not None else None,
        )
