"""Finding everything that is wrong with a data set, not only the first thing that stops a reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Actions, check_actions
from thinkvla.data import lerobot_layout as layout
from thinkvla.data.embodiments import EmbodimentSpec
from thinkvla.data.frames import FrameFile, decode_file, frame_files
from thinkvla.data.hub import find_source
from thinkvla.data.lerobot_episodes import EpisodeRecord, read_tasks
from thinkvla.data.question_files import GENERAL_ROWS, NOT_ROWS, SPATIAL_ROWS, question_files, read_rows
from thinkvla.data.question_images import StoredImage
from thinkvla.data.question_rows import parse_row
from thinkvla.data.recording import Recording, action_array, index_columns, open_recording, read_table
from thinkvla.data.spatial_qa import unreadable_images
from thinkvla.data.statistics import VectorStatistics, check_fresh
from thinkvla.data.stored_statistics import measured_statistics, statistics_file
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


def validate(address: Path | str, spec: EmbodimentSpec | None = None, images: Sequence[Path] = ()) -> Report:
    """Check robot episodes, a set of questions, or a folder of several such data sets, every frame and image.

    Args:
        address: a folder, a file of questions, or a Hub data set, ``hf://owner/name@revision``.
        spec: how episodes are read that have no ``meta/embodiment.json``.
        images: folders in which images of questions are looked for that are not beside the rows.

    Raises:
        ValueError: there is no data set at ``address``.
    """
    path = find_source(address).path
    found = _Findings()
    for data_set in _data_sets(path):
        if (data_set / "meta").is_dir():
            _check_episodes(data_set, spec, found)
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


def _check_episodes(path: Path, spec: EmbodimentSpec | None, found: _Findings) -> None:
    recording = found.attempt(open_recording, path, spec)
    if recording is None:
        return
    embodiment, episodes = recording.embodiment, recording.episodes
    table = found.attempt(read_table, recording)
    if table is not None:
        columns = found.attempt(index_columns, recording, table)
        tasks = found.attempt(read_tasks, path, recording.info)
        if columns is not None and tasks is not None:
            found.attempt(_check_tasks, columns[2], tasks, path)
        actions = found.attempt(action_array, recording, table)
        if actions is not None:
            for episode in episodes:
                where = f"{path / 'data'}: episode {episode.index}: action"
                values = actions[episode.start : episode.start + episode.length]
                found.attempt(check_actions, values, embodiment, where)
            if spec is None:
                found.attempt(_check_statistics, recording, actions)
            elif statistics_file(recording, path / ".cache").is_file():
                found.attempt(measured_statistics, recording, actions, path / ".cache")
    _check_frames(recording, found)
    if (path / layout.POINT_MAPS_INFO).is_file():
        for episode in episodes:
            found.attempt(_check_point_maps, recording, episode)
    version = recording.info["codebase_version"]
    found.checked.append(
        f"{path}: LeRobot {version}, {len(episodes)} episodes, {recording.frames} frames, cameras "
        f"{list(embodiment.cameras)}"
    )


def _check_tasks(task_index: NDArray[np.int64], tasks: Sequence[str], path: Path) -> None:
    unknown = sorted(set(task_index.tolist()) - set(range(len(tasks))))
    empty = [index for index, task in enumerate(tasks) if not task.strip()]
    if unknown or empty:
        raise ValueError(
            f"{path / 'meta'}: task_index {unknown} used in data but not listed, {empty} without text; "
            "add the missing instructions"
        )


def _check_statistics(recording: Recording, actions: Actions) -> None:
    path = recording.root
    recorded = layout.read_statistics(path, ("action", *recording.cameras.values()))["action"]
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


def _check_frames(recording: Recording, found: _Findings) -> None:
    with progress("frame") as display:
        task = display.add_task("decoding images", total=recording.frames * len(recording.cameras))

        def decode(file: FrameFile) -> None:
            for _ in decode_file(recording, file):
                display.advance(task)

        for camera in recording.cameras:
            for file in found.attempt(frame_files, recording, camera) or []:
                found.attempt(decode, file)


def _check_point_maps(recording: Recording, episode: EpisodeRecord) -> None:
    file = recording.root / layout.POINT_MAPS.format(episode_index=episode.index)
    repair = "restore it or generate the data set again"
    if not file.is_file():
        raise ValueError(f"{file} is missing; {repair}")
    try:
        points = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read ({error}); {repair}") from error
    grid = layout.read_json(recording.root, layout.POINT_MAPS_INFO, repair)["grid"]
    expected = (episode.length, len(recording.cameras), *grid, 3)
    if points.shape != expected or not np.isfinite(points).all():
        raise ValueError(f"{file}: expected finite points of shape {expected}, got {points.shape}; {repair}")
