"""The stream of demonstrations a run trains on: one data set, or several mixed by weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Observation
from thinkvla.crops import random_windows
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.method.batch import RobotBatch
from thinkvla.preprocessor import Preprocessor, RobotSample
from thinkvla.train.order import mixed, shuffled


class PerFrame(Protocol):
    """An array for each frame of a data set."""

    def __getitem__(self, index: int, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class RobotSource:
    """One data set of the stream.

    Attributes:
        episodes: demonstrations.
        geometry: the teacher's features of the same frames, or what it is to be asked about them in the training step,
            or None.
        kept: frames that are trained on, the first ones; whole episodes.
    """

    episodes: EpisodeDataset
    geometry: PerFrame | None
    kept: int

    @staticmethod
    def of(episodes: EpisodeDataset, geometry: PerFrame | None, held_out: float) -> RobotSource:
        """A data set of which the share ``held_out`` of the episodes, the last ones, is not trained on.

        Raises:
            ValueError: no episode is left to train on.
        """
        count = len(episodes.episodes)
        kept = count - round(count * held_out)
        if kept == 0:
            raise ValueError(f"{episodes.path}: data.held_out is {held_out}, which leaves none of {count} episodes")
        return RobotSource(episodes, geometry, episodes.episodes[kept].start if kept < count else len(episodes))

    def sample(
        self, index: int, chunk: int, windows: NDArray[np.float32] | None = None, *, points: bool = False
    ) -> RobotSample:
        """Frame ``index`` with the ``chunk`` actions from it on, its views cropped to ``windows``.

        ``points``: with the frame's true 3D points in the observation.
        """
        actions, padding = self.episodes.actions(index, chunk)
        maps = None
        if points:
            found = self.episodes.point_maps(index).astype(np.float32)
            maps = dict(zip(self.episodes.embodiment.cameras, found, strict=True))
        return RobotSample(
            Observation(self.episodes.frames(index), self.episodes.instruction(index), point_maps=maps),
            actions,
            ~padding,
            self.geometry[index] if self.geometry is not None else None,
            self.episodes.embodiment.name,
            windows,
        )


class RobotStream:
    """Demonstrations by position: a pure function of the seed, so a run can be taken up anywhere.

    Args:
        sources: at least one data set.
        weights: how often each is drawn from, positive; by their frames if not given: each frame is drawn alike.
        chunk: actions per sample.
        seed: of the order.
    """

    def __init__(
        self, sources: Sequence[RobotSource], weights: Sequence[float] | None = None, *, chunk: int, seed: int
    ) -> None:
        self.sources = tuple(sources)
        self.weights = tuple(weights or (float(source.kept) for source in sources))
        self.chunk = chunk
        self.seed = seed

    @property
    def frames(self) -> int:
        """Number of frames that are trained on."""
        return sum(source.kept for source in self.sources)

    @property
    def held_out_frames(self) -> int:
        """Number of frames that are not trained on."""
        return sum(len(source.episodes) for source in self.sources) - self.frames

    def place(self, position: int) -> tuple[RobotSource, int]:
        """The data set and the frame that stand at ``position`` of the stream."""
        number, position = mixed(position, self.weights)
        source = self.sources[number]
        return source, shuffled(position, source.kept, self.seed)

    def held_out_place(self, position: int) -> tuple[RobotSource, int]:
        """The same of the frames that are not trained on, in an order of their own that no seed changes."""
        sources = [source for source in self.sources if source.kept < len(source.episodes)]
        number, position = mixed(position, [float(len(source.episodes) - source.kept) for source in sources])
        source = sources[number]
        return source, source.kept + shuffled(position, len(source.episodes) - source.kept, seed=0)

    def batch(self, positions: Iterable[int], preprocessor: Preprocessor) -> RobotBatch:
        """The demonstrations at ``positions`` as tensors; where the preprocessor crops, a window for each position."""
        samples = []
        for position in positions:
            source, frame = self.place(position)
            windows = None
            if preprocessor.crop < 1:
                views = len(source.episodes.embodiment.cameras)
                windows = random_windows(preprocessor.crop, views, (self.seed, position))
            samples.append(source.sample(frame, self.chunk, windows, points=preprocessor.method.explicit_points))
        return preprocessor.robot_batch(samples)

    def held_out(self, positions: Iterable[int], preprocessor: Preprocessor) -> RobotBatch:
        """Demonstrations that are not trained on, the same in every run."""
        points = preprocessor.method.explicit_points
        places = [self.held_out_place(position) for position in positions]
        return preprocessor.robot_batch([source.sample(frame, self.chunk, points=points) for source, frame in places])
