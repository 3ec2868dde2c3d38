"""Finding everything that is wrong with a data set, not only the first thing that stops a reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Embodiment, check_actions
from thinkvla.data import lerobot_layout as layout
from thinkvla.data.frame_cache import by_video, decode_episodes
from thinkvla.data.hub import find_source
from thinkvla.data.lerobot_layout import EpisodeRecord
from thinkvla.data.lerobot_reader import action_array, index_columns, read_table
from thinkvla.data.question_files import GENERAL_ROWS, NOT_ROWS, SPATIAL_ROWS, question_files, read_rows
from thinkvla.data.question_images import StoredImage
from thinkvla.data.question_rows import parse_row
from thinkvla.data.spatial_qa import unreadable_images
from thinkvla.data.statistics import VectorStatistics, check_fresh
from thinkvla.progress import progress

Result = TypeVar("Result")


@dataclass(frozen=True)
class Report:
    """What :func:`validate` found.

    Attributes:
        path: what was looked at.
        checked: one line per data set, what it holds.
        problems: one line each: the file, what is wrong, what to do.
    """

    path: Path
    checked: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 for a sound data set, 1 otherwise."""
        return 1 if self.problems else 0

    def __str__(self) -> str:
        verdict = f"{len(self.problems)} problem(s)" if self.problems else "no problems"
        return "\n".join([*self.checked, *(f"- {problem}" for problem in self.problems), f"{self.path}: {verdict}"])


def validate(address: Path | str, images: Sequence[Path] = ()) -> Report:
    """Check robot episodes, a set of questions, or a folder of several such data sets, every frame and image.

    Args:
        address: a folder, a file of questions, or a Hub data set of questions, ``hf://owner/name@revision``.
        images: folders in which images of questions are looked for that are not beside the rows.

    Raises:
        ValueError: there is no data set at ``address``.
    """
    path = find_source(address).path
    found = _Findings()
    for data_set in _data_sets(path):
        if (data_set / "meta").is_dir():
            _check_episodes(data_set, found)
        else:
            _check_questions(data_set, found, images)
    return Report(path, tuple(found.checked), tuple(found.problems))


class _Findings:
    """Runs checks, and notes a ValueError instead of stopping at it."""

    def __init__(self) -> None:
        self.checked: list[str] = []
        self.problems: list[str] = []

    def attempt(self, check: Callable[..., Result], *arguments: Any) -> Result | None:
        try:
            return check(*arguments)
        except ValueError as error:
            self.problems.append(str(error))
            return None


def _data_sets(path: Path) -> list[Path]:
    """``path`` itself, or the data sets that stand in it."""
    if _is_data_set(path):
        return [path]
    inside = sorted(p for p in path.glob("*") if _is_data_set(p))
    try:
        return inside or [path] * bool(question_files(path))
    except ValueError as error:
        raise ValueError(
            f"{path}: no data set there; expected {layout.INFO} (episodes) or questions: {error}"
        ) from error


def _is_data_set(path: Path) -> bool:
    if path.is_file():
        return path.suffix in (".parquet", ".json", ".jsonl") and path.name not in NOT_ROWS
    return (path / "meta").is_dir() or (path / SPATIAL_ROWS).is_file() or (path / GENERAL_ROWS).is_file()


def _check_questions(path: Path, found: _Findings, folders: Sequence[Path]) -> None:
    rows = found.attempt(lambda: list(read_rows(path, folders)))
    if rows is None:
        return
    images: dict[StoredImage, None] = {}
    for row, place in rows:
        entry = found.attempt(parse_row, row, place)
        images |= dict.fromkeys(entry.images if entry is not None else ())
    found.problems += unreadable_images(images).values()
    found.checked.append(f"{path}: {len(rows)} rows, {len(images)} images")


def _check_episodes(path: Path, found: _Findings) -> None:
    info = found.attempt(layout.read_info, path)
    embodiment = None if info is None else found.attempt(layout.read_embodiment, path, info)
    if info is None or embodiment is None:
        return
    episodes = found.attempt(layout.read_episodes, path, info, embodiment.cameras)
    if episodes is None:
        return
    table = found.attempt(read_table, path)
    if table is not None:
        columns = found.attempt(index_columns, table, episodes, path)
        tasks = found.attempt(layout.read_tasks, path)
        if columns is not None and tasks is not None:
            found.attempt(_check_tasks, columns[2], tasks, path)
        actions = found.attempt(action_array, table, embodiment.action_dim, path)
        if actions is not None:
            for episode in episodes:
                where = f"{path / 'data'}: episode {episode.index}: action"
                values = actions[episode.start : episode.start + episode.length]
                found.attempt(check_actions, values, embodiment, where)
            found.attempt(_check_statistics, path, embodiment, actions)
    _check_videos(path, embodiment, episodes, found)
    if (path / layout.POINT_MAPS_INFO).is_file():
        for episode in episodes:
            found.attempt(_check_point_maps, path, embodiment, episode)
    frames = sum(episode.length for episode in episodes)
    found.checked.append(f"{path}: {len(episodes)} episodes, {frames} frames, cameras {list(embodiment.cameras)}")


def _check_tasks(task_index: NDArray[np.int64], tasks: Sequence[str], path: Path) -> None:
    unknown = sorted(set(task_index.tolist()) - set(range(len(tasks))))
    empty = [index for index, task in enumerate(tasks) if not task.strip()]
    if unknown or empty:
        raise ValueError(
            f"{path / layout.TASKS}: task_index {unknown} used in data but not listed, {empty} without text; "
            "add the missing instructions"
        )


def _check_statistics(path: Path, embodiment: Embodiment, actions: NDArray[np.float32]) -> None:
    keys = ("action", *(layout.video_key(camera) for camera in embodiment.cameras))
    recorded = layout.read_statistics(path, keys)["action"]
    repair = f"run 'thinkvla data refresh {path}'"
    source = layout.read_json(path, layout.STATISTICS_SOURCE, repair)
    check_fresh(str(source.get("actions")), actions, str(path / layout.STATISTICS))
    gatherer = VectorStatistics()
    gatherer.add(actions)
    for name, value in gatherer.result().values.items():
        if name in recorded.values and not np.allclose(recorded[name], value, atol=1e-6):
            raise ValueError(
                f"{path / layout.STATISTICS}: '{name}' of action is {recorded[name]}, not {value}; {repair}"
            )


def _check_videos(path: Path, embodiment: Embodiment, episodes: Sequence[EpisodeRecord], found: _Findings) -> None:
    frames = sum(episode.length for episode in episodes)
    with progress("frame") as display:
        task = display.add_task("decoding videos", total=frames * len(embodiment.cameras))

        def decode(video: str, members: list[EpisodeRecord], camera: str) -> None:
            shape = (*embodiment.image_size, 3)
            for _ in decode_episodes(path / video, members, camera, int(embodiment.control_hz), shape):
                display.advance(task)

        for camera in embodiment.cameras:
            for video, members in by_video(episodes, camera).items():
                found.attempt(decode, video, members, camera)


def _check_point_maps(path: Path, embodiment: Embodiment, episode: EpisodeRecord) -> None:
    file = path / layout.POINT_MAPS.format(episode_index=episode.index)
    repair = "restore it or generate the data set again"
    if not file.is_file():
        raise ValueError(f"{file} is missing; {repair}")
    try:
        points = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read ({error}); {repair}") from error
    grid = layout.read_json(path, layout.POINT_MAPS_INFO, repair)["grid"]
    expected = (episode.length, len(embodiment.cameras), *grid, 3)
    if points.shape != expected or not np.isfinite(points).all():
        raise ValueError(f"{file}: expected finite points of shape {expected}, got {points.shape}; {repair}")
