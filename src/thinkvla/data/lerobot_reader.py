"""Reading robot episodes: any frame at random, and the action chunk that follows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Actions, Image, check_actions
from thinkvla.data import lerobot_layout as layout
from thinkvla.data.embodiments import EmbodimentSpec
from thinkvla.data.frame_cache import open_frames
from thinkvla.data.lerobot_episodes import EpisodeRecord, read_tasks
from thinkvla.data.random_frames import RandomFrames
from thinkvla.data.recording import action_array, index_columns, open_recording, read_table
from thinkvla.data.statistics import FeatureStatistics, check_fresh
from thinkvla.data.stored_statistics import measured_statistics


class EpisodeDataset:
    """A LeRobot data set of one embodiment; an index stands for one frame of one episode.

    Attributes:
        path: the data set's folder.
        cache: the folder of what is computed once.
        embodiment: what its images and actions mean; the order of its cameras is the order of the views.
        spec: how the data set is read, unless it says so itself.
        revision: commit on the Hub, if it came from there.
        episodes: one record per episode, in order.
        episode_index: (N,) int64, the episode of each frame.
        frame_index: (N,) int64, the step of each frame within its episode.
        task_index: (N,) int64, each frame's place in ``instructions``.
        instructions: the distinct tasks in words.
        statistics: feature → its statistics; of ``action``, and of images in a data set of ours.
        fingerprint: identifies the content; caches and checkpoints name it.
    """

    def __init__(
        self,
        path: Path,
        cache: Path | None = None,
        spec: EmbodimentSpec | None = None,
        revision: str | None = None,
        decode_once: bool = True,
    ) -> None:
        """Open the data set ``path``; decoded frames go to ``cache`` (default: ``.cache`` in the data set).

        Without ``spec`` the data set is one of ours, with ``meta/embodiment.json`` and recorded statistics. With it,
        any LeRobot data set of version 2.0, 2.1 or 3.0; its statistics are measured and kept in ``cache``. Nothing is
        decoded before the first frame is asked for; then all of them, or, without ``decode_once``, that frame alone.

        Raises:
            ValueError: a file, camera or statistic is missing, broken, stale, or does not fit the others.
                The message names it.
        """
        self.path = path
        self.cache = cache or path / ".cache"
        self.spec = spec
        self.revision = revision
        recording = self._recording = open_recording(path, spec)
        self.embodiment = recording.embodiment
        self.episodes: tuple[EpisodeRecord, ...] = recording.episodes
        self.instructions = read_tasks(path, recording.info)
        table = read_table(recording)
        self._actions = action_array(recording, table)
        self.episode_index, self.frame_index, self.task_index = index_columns(recording, table)
        if self.task_index.max() >= len(self.instructions):
            raise ValueError(f"{path}: task_index {self.task_index.max()} is used in data but not listed in meta")
        check_actions(self._actions, self.embodiment, f"{path / 'data'}: column 'action'")
        if spec is None:
            keys = ("action", *recording.cameras.values())
            self.statistics: dict[str, FeatureStatistics] = layout.read_statistics(path, keys)
            source = layout.read_json(path, layout.STATISTICS_SOURCE, f"run 'thinkvla data refresh {path}'")
            check_fresh(str(source.get("actions")), self._actions, str(path / layout.STATISTICS))
        else:
            self.statistics = measured_statistics(recording, self._actions, self.cache)
        self.fingerprint = recording.fingerprint(self._actions)
        self._decode_once = decode_once
        self._frames: NDArray[np.uint8] | RandomFrames | None = None

    def __len__(self) -> int:
        return len(self._actions)

    def __getstate__(self) -> dict[str, Any]:
        # A data loader's worker opens the memory map or the videos again; sending its bytes would copy all frames.
        return {**self.__dict__, "_frames": None}

    @property
    def all_actions(self) -> Actions:
        """The actions of all frames, (N, action_dim) float32."""
        return self._actions

    @property
    def has_point_maps(self) -> bool:
        """Whether true 3D points were recorded (simulated data only)."""
        return (self.path / layout.POINT_MAPS_INFO).is_file()

    def instruction(self, index: int) -> str:
        """The task of frame ``index`` in words."""
        return self.instructions[int(self.task_index[index])]

    def frames(self, index: int) -> dict[str, Image]:
        """What the robot saw at frame ``index``: camera → (H, W, 3) uint8 RGB, read-only.

        The first call decodes all images into the cache, with a progress display, unless they are decoded one by one.
        """
        if self._frames is None and not self._decode_once:
            self._frames = RandomFrames(self._recording)
        elif self._frames is None:
            self._frames = open_frames(self.cache / f"frames-{self.fingerprint}.npy", self._recording)
        return dict(zip(self.embodiment.cameras, self._frames[range(len(self))[index]], strict=True))

    def actions(self, index: int, horizon: int) -> tuple[Actions, NDArray[np.bool_]]:
        """The ``horizon`` actions from frame ``index`` on, and which of them are padding.

        A chunk that reaches past the end of its episode repeats the episode's last action, marked in
        ``is_pad``, as LeRobot's ``action_is_pad``; the loss leaves those out.

        Returns:
            actions (C, action_dim) float32, is_pad (C,) bool.
        """
        first = range(len(self))[index]
        episode = self.episodes[int(self.episode_index[first])]
        wanted = first + np.arange(horizon)
        last = episode.start + episode.length - 1
        return self._actions[np.minimum(wanted, last)], wanted > last

    def point_maps(self, index: int) -> NDArray[np.float16]:
        """True points of frame ``index``: (V, h, w, 3) float16, metres in the robot's base frame.

        Raises:
            ValueError: the data set has none, or this episode's file is missing.
        """
        path = self.path / layout.POINT_MAPS.format(episode_index=int(self.episode_index[index]))
        if not path.is_file():
            raise ValueError(f"{path} is missing; only simulated data sets have point maps, use another teacher")
        points: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)[int(self.frame_index[index])]
        return np.array(points)
