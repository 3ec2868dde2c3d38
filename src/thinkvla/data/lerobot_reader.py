"""Reading robot episodes: any frame at random, and the action chunk that follows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thinkvla.contract import Actions, Image, check_actions
from thinkvla.data import lerobot_layout as layout
from thinkvla.data.frame_cache import open_frames
from thinkvla.data.lerobot_layout import EpisodeRecord
from thinkvla.data.statistics import FeatureStatistics, check_fresh

COLUMNS = ["action", "index", "episode_index", "frame_index", "task_index", "timestamp"]


class EpisodeDataset:
    """A LeRobot v3.0 data set with an embodiment; an index stands for one frame of one episode.

    Attributes:
        path: the data set's folder.
        embodiment: what its images and actions mean; the order of its cameras is the order of the views.
        episodes: one record per episode, in order.
        episode_index: (N,) int64, the episode of each frame.
        frame_index: (N,) int64, the step of each frame within its episode.
        task_index: (N,) int64, each frame's place in ``instructions``.
        instructions: the distinct tasks in words.
        statistics: feature (``action``, ``observation.images.<camera>``) → its statistics.
        fingerprint: identifies the content; caches and checkpoints name it.
    """

    def __init__(self, path: Path, cache: Path | None = None) -> None:
        """Open the data set ``path``; decoded frames go to ``cache`` (default: ``.cache`` in the data set).

        Nothing is decoded before the first frame is asked for.

        Raises:
            ValueError: a file, camera or statistic is missing, broken, stale, or does not fit the others.
                The message names it.
        """
        self.path = path
        info = layout.read_info(path)
        self.embodiment = layout.read_embodiment(path, info)
        self.episodes: tuple[EpisodeRecord, ...] = layout.read_episodes(path, info, self.embodiment.cameras)
        self.instructions = layout.read_tasks(path)
        table = read_table(path)
        self._actions = action_array(table, self.embodiment.action_dim, path)
        self.episode_index, self.frame_index, self.task_index = index_columns(table, self.episodes, path)
        if self.task_index.max() >= len(self.instructions):
            raise ValueError(
                f"{path / layout.TASKS}: task_index {self.task_index.max()} is used in data but not listed"
            )
        check_actions(self._actions, self.embodiment, f"{path / 'data'}: column 'action'")
        keys = ("action", *(layout.video_key(camera) for camera in self.embodiment.cameras))
        self.statistics: dict[str, FeatureStatistics] = layout.read_statistics(path, keys)
        repair = f"run 'thinkvla data refresh {path}'"
        source = layout.read_json(path, layout.STATISTICS_SOURCE, repair)
        check_fresh(str(source.get("actions")), self._actions, str(path / layout.STATISTICS))
        self.fingerprint = layout.fingerprint(path)
        self._cache = cache
        self._frames: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self._actions)

    def __reduce__(self) -> tuple[type[EpisodeDataset], tuple[Path, Path | None]]:
        # A data loader's worker opens the memory map again; sending its bytes would copy all frames.
        return EpisodeDataset, (self.path, self._cache)

    @property
    def has_point_maps(self) -> bool:
        """Whether true 3D points were recorded (simulated data only)."""
        return (self.path / layout.POINT_MAPS_INFO).is_file()

    def instruction(self, index: int) -> str:
        """The task of frame ``index`` in words."""
        return self.instructions[int(self.task_index[index])]

    def frames(self, index: int) -> dict[str, Image]:
        """What the robot saw at frame ``index``: camera → (H, W, 3) uint8 RGB, read-only.

        The first call decodes the videos into the cache, with a progress display.
        """
        if self._frames is None:
            folder = self._cache or self.path / ".cache"
            self._frames = open_frames(
                folder / f"frames-{self.fingerprint}.npy", self.path, self.embodiment, self.episodes
            )
        return dict(zip(self.embodiment.cameras, self._frames[index], strict=True))

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


def read_table(root: Path) -> pa.Table:
    """The frame table of the data set ``root`` (:data:`COLUMNS`), all its files in order."""
    files = sorted((root / "data").glob("*/*.parquet"))
    if not files:
        raise ValueError(f"{root / 'data'}: no tables; restore them or generate the data set again")
    return pa.concat_tables([layout.read_parquet(file, COLUMNS) for file in files], promote_options="permissive")


def action_array(table: pa.Table, dim: int, root: Path) -> NDArray[np.float32]:
    """The column 'action' as (N, dim) float32; raises ValueError where a row has another length."""
    column = table["action"].combine_chunks()
    lengths = np.asarray(pa.compute.list_value_length(column).fill_null(0))
    if (lengths != dim).any():
        row = int(np.argmax(lengths != dim))
        raise ValueError(f"{root / 'data'}: action of frame {row} has {lengths[row]} values, expected {dim}")
    return np.asarray(column.flatten(), dtype=np.float32).reshape(-1, dim)


def index_columns(
    table: pa.Table, episodes: tuple[EpisodeRecord, ...], root: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """episode_index, frame_index, task_index, each (N,); raises ValueError where the table has gaps."""
    lengths = [episode.length for episode in episodes]
    expected = {
        "index": np.arange(sum(lengths)),
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "frame_index": np.concatenate([np.arange(length) for length in lengths]),
    }
    if table.num_rows != sum(lengths):
        raise ValueError(f"{root / 'data'}: {table.num_rows} frames, meta/episodes lists {sum(lengths)}")
    for name, values in expected.items():
        found = np.asarray(table[name])
        if (found != values).any():
            row = int(np.argmax(found != values))
            raise ValueError(f"{root / 'data'}: {name} of row {row} is {found[row]}, expected {values[row]} (a gap?)")
    return expected["episode_index"], expected["frame_index"], np.asarray(table["task_index"], dtype=np.int64)
