"""Writing robot episodes as a LeRobot v3.0 data set, one episode in memory at a time.

Layout and column names as LeRobot's own ``LeRobotDataset`` (v3.0) writes and reads them. The data set grows
in a folder with a temporary name and takes its own name when it is complete, so that a broken run never
looks like data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thinkvla.contract import Embodiment, Image, check_actions
from thinkvla.data import lerobot_layout as layout
from thinkvla.data import video
from thinkvla.data.statistics import ImageStatistics, VectorStatistics, source_fingerprint
from thinkvla.files import new_folder

Gatherers = dict[str, VectorStatistics | ImageStatistics]
SCALARS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@contextmanager
def write_episodes(path: Path, embodiment: Embodiment, max_file_bytes: int = 100 * 2**20) -> Iterator[EpisodeWriter]:
    """Write the data set ``path``; it is complete when the context ends well, and removed otherwise.

    A new data or video file starts once one holds ``max_file_bytes``.

    Raises:
        ValueError: ``path`` exists, the embodiment's rate is not a whole number, or no episode was added.
    """
    if embodiment.control_hz != int(embodiment.control_hz):
        raise ValueError(f"control_hz is {embodiment.control_hz}; LeRobot needs a whole number of frames per second")
    with new_folder(path) as folder:
        writer = EpisodeWriter(folder, embodiment, max_file_bytes)
        try:
            yield writer
        finally:
            writer.close_files()
        writer.write_metadata()


class EpisodeWriter:
    """Adds episodes to a data set that grows in ``root``; :func:`write_episodes` makes one."""

    def __init__(self, root: Path, embodiment: Embodiment, max_file_bytes: int) -> None:
        self._root, self._embodiment, self._max_file_bytes = root, embodiment, max_file_bytes
        self._fps = int(embodiment.control_hz)
        self._frames = 0
        self._tasks: list[str] = []
        self._episodes: list[dict[str, Any]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._gatherers = new_gatherers(embodiment)
        self._table: pq.ParquetWriter | None = None
        self._table_bytes = 0
        self._table_number = -1
        self._videos: dict[str, video.VideoWriter] = {}
        self._video_numbers = dict.fromkeys(embodiment.cameras, -1)
        self._point_maps_grid: tuple[int, ...] | None = None

    def add_episode(
        self,
        images: Mapping[str, Image],
        actions: NDArray[np.float32],
        instruction: str,
        point_maps: NDArray[np.float16] | None = None,
    ) -> None:
        """Append one episode of T control steps; frame t is what was seen before action t.

        Args:
            images: camera → (T, H, W, 3) uint8 RGB.
            actions: (T, action_dim) float32 inside the embodiment's range.
            instruction: the task in words.
            point_maps: (T, V, h, w, 3) float16 true points, metres, base frame, views in the embodiment's
                camera order; all episodes have them, or none.

        Raises:
            ValueError: something has another shape, is not finite or out of range, or the instruction is
                empty.
        """
        where = f"episode {len(self._episodes)}"
        self._check(where, images, actions, instruction, point_maps)
        length = len(actions)
        if instruction not in self._tasks:
            self._tasks.append(instruction)
        columns = episode_columns(length, len(self._episodes), self._frames, self._tasks.index(instruction), self._fps)
        gatherers = new_gatherers(self._embodiment)
        features = columns | {"action": actions} | {layout.video_key(k): v for k, v in images.items()}
        for gathered in (gatherers, self._gatherers):
            for key, values in features.items():
                gathered[key].add(values)
        row: dict[str, Any] = {
            "episode_index": len(self._episodes),
            "tasks": [instruction],
            "length": length,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        row |= self._write_table(columns, actions)
        for camera in self._embodiment.cameras:
            row |= self._write_video(camera, images[camera])
        for key, gatherer in gatherers.items():
            row |= {f"stats/{key}/{name}": value for name, value in gatherer.result().to_dict().items()}
        if point_maps is not None:
            target = self._root / layout.POINT_MAPS.format(episode_index=len(self._episodes))
            target.parent.mkdir(exist_ok=True)
            np.save(target, point_maps, allow_pickle=False)
        self._episodes.append(row)
        self._actions.append(actions.copy())
        self._frames += length

    def _check(
        self,
        where: str,
        images: Mapping[str, Image],
        actions: NDArray[np.float32],
        instruction: str,
        point_maps: NDArray[np.float16] | None,
    ) -> None:
        check_actions(actions, self._embodiment, f"{where}: actions")
        if len(actions) == 0 or actions.dtype != np.float32:
            raise ValueError(f"{where}: expected at least one float32 action, got {actions.shape} {actions.dtype}")
        if not instruction.strip():
            raise ValueError(f"{where}: the instruction is empty")
        if set(images) != set(self._embodiment.cameras):
            raise ValueError(f"{where}: cameras {sorted(images)} given, expected {list(self._embodiment.cameras)}")
        shape = (len(actions), *self._embodiment.image_size, 3)
        for camera, values in images.items():
            if values.shape != shape or values.dtype != np.uint8:
                raise ValueError(
                    f"{where}: images of '{camera}' are {values.shape} {values.dtype}, expected {shape} uint8"
                )
        grid = None if point_maps is None else point_maps.shape[1:]
        if self._episodes and grid != self._point_maps_grid:
            raise ValueError(f"{where}: point maps are {grid} a step, in earlier episodes {self._point_maps_grid}")
        if point_maps is not None:
            views = len(self._embodiment.cameras)
            valid = point_maps.ndim == 5 and point_maps.shape[:2] == (len(actions), views) and point_maps.shape[4] == 3
            if not valid or point_maps.dtype != np.float16 or not np.isfinite(point_maps).all():
                raise ValueError(
                    f"{where}: point maps are {point_maps.shape} {point_maps.dtype}, expected finite "
                    f"({len(actions)}, {views}, h, w, 3) float16"
                )
        self._point_maps_grid = grid

    def _write_table(self, columns: Mapping[str, NDArray[Any]], actions: NDArray[np.float32]) -> dict[str, int]:
        values = pa.FixedSizeListArray.from_arrays(pa.array(actions.ravel()), self._embodiment.action_dim)
        table = pa.table({"action": values} | {key: pa.array(column) for key, column in columns.items()})
        if self._table is None or self._table_bytes >= self._max_file_bytes:
            if self._table is not None:
                self._table.close()
            self._table_number, self._table_bytes = self._table_number + 1, 0
            target = self._root / layout.DATA.format(**chunk(self._table_number))
            target.parent.mkdir(parents=True, exist_ok=True)
            self._table = pq.ParquetWriter(target, table.schema)
        self._table.write_table(table)
        self._table_bytes += table.nbytes
        return {f"data/{name}": number for name, number in chunk(self._table_number).items()}

    def _write_video(self, camera: str, images: Image) -> dict[str, float]:
        key = layout.video_key(camera)
        writer = self._videos.get(camera)
        if writer is None or writer.bytes >= self._max_file_bytes:
            if writer is not None:
                writer.close()
            self._video_numbers[camera] += 1
            target = self._root / layout.VIDEO.format(video_key=key, **chunk(self._video_numbers[camera]))
            writer = self._videos[camera] = video.VideoWriter(target, self._fps, self._embodiment.image_size)
        first = writer.frames
        writer.add(images)
        row: dict[str, float] = {f"videos/{key}/{k}": v for k, v in chunk(self._video_numbers[camera]).items()}
        times = {"from_timestamp": first / self._fps, "to_timestamp": writer.frames / self._fps}
        return row | {f"videos/{key}/{name}": value for name, value in times.items()}

    def close_files(self) -> None:
        """Finish the table and the videos."""
        if self._table is not None:
            self._table.close()
        for writer in self._videos.values():
            writer.close()

    def write_metadata(self) -> None:
        """Write ``meta/``; raises ValueError if there is no episode."""
        if not self._episodes:
            raise ValueError("no episode was added, so there is no data set to write")
        episodes = self._root / layout.EPISODES.format(chunk_index=0, file_index=0)
        episodes.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._episodes), episodes)
        pq.write_table(tasks_table(self._tasks), self._root / layout.TASKS)
        write_json(self._root / layout.INFO, self._info())
        write_json(self._root / layout.EMBODIMENT, self._embodiment.to_dict())
        write_statistics(self._root, self._gatherers, np.concatenate(self._actions))
        if self._point_maps_grid is not None:
            stride = [s // g for s, g in zip(self._embodiment.image_size, self._point_maps_grid[1:3], strict=True)]
            write_json(
                self._root / layout.POINT_MAPS_INFO,
                {
                    "cameras": list(self._embodiment.cameras),
                    "grid": self._point_maps_grid[1:3],
                    "stride": stride,
                }
                | {"frame": "robot base", "unit": "metre", "dtype": "float16"},
            )

    def _info(self) -> dict[str, Any]:
        height, width = self._embodiment.image_size
        encoding = {
            "video.height": height,
            "video.width": width,
            "video.codec": video.CODEC,
            "video.pix_fmt": video.PIXEL_FORMAT,
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
        }
        names = list(self._embodiment.action_names)
        features: dict[str, Any] = {"action": {"dtype": "float32", "shape": [len(names)], "names": names}}
        for camera in self._embodiment.cameras:
            features[layout.video_key(camera)] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": encoding,
            }
        features |= {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in SCALARS.items()}
        megabytes = max(1, self._max_file_bytes // 2**20)
        return {
            "codebase_version": layout.VERSION,
            "robot_type": self._embodiment.name,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": megabytes,
            "video_files_size_in_mb": megabytes,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": layout.DATA,
            "video_path": layout.VIDEO,
            "features": features,
        }


def new_gatherers(embodiment: Embodiment) -> Gatherers:
    """Empty statistics for every feature of a data set of ``embodiment``."""
    images: Gatherers = {layout.video_key(camera): ImageStatistics() for camera in embodiment.cameras}
    return images | {key: VectorStatistics() for key in ("action", *SCALARS)}


def episode_columns(length: int, episode: int, start: int, task: int, fps: int) -> dict[str, NDArray[Any]]:
    """The columns beside images and actions that LeRobot wants of ``length`` frames, each (length,)."""
    steps = np.arange(length, dtype=np.int64)
    return {
        "timestamp": (steps / fps).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(length, episode, dtype=np.int64),
        "index": start + steps,
        "task_index": np.full(length, task, dtype=np.int64),
    }


def write_statistics(root: Path, gatherers: Gatherers, actions: NDArray[np.float32]) -> None:
    """Write ``meta/stats.json``, and beside it what ``actions`` (N, D) it was computed from."""
    write_json(root / layout.STATISTICS, {key: gatherer.result().to_dict() for key, gatherer in gatherers.items()})
    write_json(root / layout.STATISTICS_SOURCE, {"actions": source_fingerprint(actions), "frames": len(actions)})


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write indented JSON; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")


def chunk(number: int) -> dict[str, int]:
    """Chunk and file index of the ``number``-th file of a kind."""
    return {"chunk_index": number // layout.FILES_PER_CHUNK, "file_index": number % layout.FILES_PER_CHUNK}


def tasks_table(tasks: list[str]) -> pa.Table:
    """The task table as pandas writes it with the text as index, by which LeRobot looks tasks up."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": tasks})
    column = {"metadata": None}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            column
            | {
                "name": "task_index",
                "field_name": "task_index",
                "pandas_type": "int64",
                "numpy_type": "int64",
            },
            column | {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
