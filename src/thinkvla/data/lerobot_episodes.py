"""The episodes of a LeRobot data set: where each one's rows and videos stand, and what was asked of the robot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from thinkvla.data import lerobot_layout as layout

OLD_TASKS = "meta/tasks.jsonl"
OLD_EPISODES = "meta/episodes.jsonl"


@dataclass(frozen=True)
class VideoSpan:
    """Where one episode's frames of one camera stand: ``path`` below the data set, from frame ``first``."""

    path: str
    first: int


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode: frames ``start`` to ``start + length`` of the data set.

    Attributes:
        index: its number.
        start: its first frame.
        length: number of frames.
        videos: camera → its video; cameras whose images stand in the tables have none.
    """

    index: int
    start: int
    length: int
    videos: Mapping[str, VideoSpan]


def read_episodes(root: Path, info: Mapping[str, Any], cameras: Mapping[str, str]) -> tuple[EpisodeRecord, ...]:
    """All episodes in order; ``cameras`` names the feature of each camera.

    Raises:
        ValueError: the episodes do not follow one another without gaps, or are not as many as ``info`` says.
    """
    videos = {camera: key for camera, key in cameras.items() if info["features"][key]["dtype"] == "video"}
    if videos and not info.get("video_path"):
        raise ValueError(f"{root / layout.INFO}: 'video_path' is missing, but {sorted(videos.values())} are videos")
    old = info["codebase_version"] in layout.OLDER
    records = tuple(_old_records(root, info, videos) if old else _records(root, info, videos))
    total = sum(record.length for record in records)
    if (len(records), total) != (info["total_episodes"], info["total_frames"]):
        raise ValueError(
            f"{root / layout.INFO}: says {info['total_episodes']} episodes and {info['total_frames']} frames, "
            f"{OLD_EPISODES if old else 'meta/episodes'} has {len(records)} and {total}; one of them is incomplete"
        )
    return records


def read_tasks(root: Path, info: Mapping[str, Any]) -> tuple[str, ...]:
    """The instructions, by ``task_index``."""
    if info["codebase_version"] in layout.OLDER:
        path = root / OLD_TASKS
        rows = _read_lines(path, ("task_index", "task"))
        text = "task"
    else:
        path = root / layout.TASKS
        # LeRobot writes pandas' index; its column is 'task', or '__index_level_0__' where the index had no name.
        names = [] if not path.is_file() else pq.read_schema(path).names
        text = next((name for name in ("task", "__index_level_0__") if name in names), "task")
        rows = layout.read_parquet(path, ["task_index", text]).to_pylist()
    rows = sorted(rows, key=lambda row: int(row["task_index"]))
    if [int(row["task_index"]) for row in rows] != list(range(len(rows))):
        raise ValueError(f"{path}: task_index must count from 0 without gaps")
    return tuple(str(row[text]) for row in rows)


def table_files(root: Path, info: Mapping[str, Any], episodes: tuple[EpisodeRecord, ...]) -> list[Path]:
    """The files of the frame table in order; raises ValueError if there are none."""
    if info["codebase_version"] in layout.OLDER:
        return [root / _old_path(info, info["data_path"], record.index) for record in episodes]
    files = sorted((root / "data").glob("*/*.parquet"))
    if not files:
        raise ValueError(f"{root / 'data'}: no tables; restore them or generate the data set again")
    return files


def _records(root: Path, info: Mapping[str, Any], videos: Mapping[str, str]) -> Iterator[EpisodeRecord]:
    files = sorted((root / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise ValueError(f"{root / 'meta/episodes'}: no episode tables; is {root} a LeRobot {layout.VERSION} data set?")
    columns = ["episode_index", "length", "dataset_from_index"]
    for key in videos.values():
        columns += [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    rows = [row for file in files for row in layout.read_parquet(file, columns).to_pylist()]
    start = 0
    for number, row in enumerate(rows):
        if row["episode_index"] != number or row["dataset_from_index"] != start:
            raise ValueError(
                f"{root / 'meta/episodes'}: row {number} is episode {row['episode_index']} from frame "
                f"{row['dataset_from_index']}, expected episode {number} from frame {start} (a gap?)"
            )
        spans = {camera: _span(row, key, info) for camera, key in videos.items()}
        yield EpisodeRecord(number, start, int(row["length"]), spans)
        start += int(row["length"])


def _old_records(root: Path, info: Mapping[str, Any], videos: Mapping[str, str]) -> Iterator[EpisodeRecord]:
    start = 0
    for number, row in enumerate(_read_lines(root / OLD_EPISODES, ("episode_index", "length"))):
        if row["episode_index"] != number:
            raise ValueError(
                f"{root / OLD_EPISODES}: line {number + 1} is episode {row['episode_index']}, expected {number} "
                "(a gap?)"
            )
        spans = {
            camera: VideoSpan(_old_path(info, info["video_path"], number, video_key=key), 0)
            for camera, key in videos.items()
        }
        yield EpisodeRecord(number, start, int(row["length"]), spans)
        start += int(row["length"])


def _old_path(info: Mapping[str, Any], pattern: str, episode: int, **names: str) -> str:
    return pattern.format(episode_chunk=episode // int(info["chunks_size"]), episode_index=episode, **names)


def _read_lines(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The objects of a jsonl file, which all have ``keys``."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; restore it")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: line {number} is not valid JSON ({error}); restore the file") from error
        missing = [key for key in keys if key not in row]
        if missing:
            raise ValueError(f"{path}: line {number} lacks {missing}; restore the file")
        rows.append(row)
    return rows


def _span(row: Mapping[str, Any], key: str, info: Mapping[str, Any]) -> VideoSpan:
    prefix = f"videos/{key}"
    path = str(info["video_path"]).format(
        video_key=key, chunk_index=row[f"{prefix}/chunk_index"], file_index=row[f"{prefix}/file_index"]
    )
    return VideoSpan(path, round(float(row[f"{prefix}/from_timestamp"]) * float(info["fps"])))
