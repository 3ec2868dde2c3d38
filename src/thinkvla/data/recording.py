"""A LeRobot data set read as episodes of one embodiment: its metadata, and its tables as checked arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thinkvla.contract import Actions, Embodiment
from thinkvla.data import lerobot_layout as layout
from thinkvla.data.embodiments import ActionPart, EmbodimentSpec, action_parts, camera_keys
from thinkvla.data.hub import Source, find_source
from thinkvla.data.lerobot_episodes import EpisodeRecord, read_episodes, table_files
from thinkvla.progress import progress

COLUMNS = ["index", "episode_index", "frame_index", "task_index", "timestamp"]
TIME_TOLERANCE = 1e-4
"""Seconds that a frame's timestamp may be off its place at a constant rate, as LeRobot's reader allows."""


@dataclass(frozen=True)
class Recording:
    """The metadata of a data set; :func:`open_recording` reads it.

    Attributes:
        root: the data set's folder.
        info: ``meta/info.json``.
        embodiment: what its images and actions mean.
        spec: how it is read; None for a data set of ours, whose ``meta/embodiment.json`` says it.
        cameras: camera → feature with its images, in the order of the views.
        parts: where the action stands.
        episodes: one record per episode, in order.
    """

    root: Path
    info: Mapping[str, Any]
    embodiment: Embodiment
    spec: EmbodimentSpec | None
    cameras: Mapping[str, str]
    parts: tuple[ActionPart, ...]
    episodes: tuple[EpisodeRecord, ...]

    @property
    def fps(self) -> float:
        """Frames per second of tables and videos."""
        return float(self.info["fps"])

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.episodes[-1].start + self.episodes[-1].length

    def stored_as_video(self, camera: str) -> bool:
        """Whether the images of ``camera`` are videos; else they are compressed images in the tables."""
        return bool(self.info["features"][self.cameras[camera]]["dtype"] == "video")

    def fingerprint(self, actions: Actions) -> str:
        """Identifies content and reading; ``actions`` is all of :func:`action_array`.

        Of a data set of others, only what is read counts: not the videos of other cameras. Its tables may hold
        gigabytes of images; a table's end lists the size of each of its columns, and the actions are hashed in full.
        """
        if self.spec is None:
            return layout.fingerprint(self.root)
        files = [*(self.root / "meta").rglob("*"), *table_files(self.root, self.info, self.episodes)]
        files += [self.root / span.path for episode in self.episodes for span in episode.videos.values()]
        digest = hashlib.blake2b(digest_size=16)
        digest.update(layout.hash_files(self.root, files, (".mp4", ".parquet")).encode())
        digest.update(self.spec_key.encode())
        digest.update(np.ascontiguousarray(actions, dtype="<f4").tobytes())
        return digest.hexdigest()

    @property
    def spec_key(self) -> str:
        """Identifies the specification."""
        spec = None if self.spec is None else self.spec.to_dict()
        return hashlib.blake2b(json.dumps(spec).encode(), digest_size=8).hexdigest()


def open_recording(root: Path, spec: EmbodimentSpec | None = None) -> Recording:
    """Read the metadata of the data set ``root``, as ``spec`` says or else its own ``meta/embodiment.json``.

    Raises:
        ValueError: a file, camera or key is missing or does not fit the others; the message names it.
    """
    info = layout.read_info(root)
    if spec is None:
        embodiment = layout.read_embodiment(root, info)
        cameras = {camera: layout.video_key(camera) for camera in embodiment.cameras}
        parts: tuple[ActionPart, ...] = (ActionPart("action"),)
    else:
        embodiment = spec.embodiment(info["fps"])
        cameras, parts = _keys(root, info, spec)
    episodes = read_episodes(root, info, cameras)
    if not episodes:
        raise ValueError(f"{root}: the data set has no episodes")
    return Recording(root, info, embodiment, spec, cameras, parts, episodes)


def fetch_recording(address: str, spec: EmbodimentSpec | None = None) -> Source:
    """Where a data set is, fetched from the Hub if need be; videos of cameras that ``spec`` does not ask for are not.

    Raises:
        ValueError: the Hub does not have it, or it lacks what ``spec`` asks for.
    """
    if spec is None:
        return find_source(address)
    source = find_source(address, ("meta/*",))
    if source.revision is None:
        return source
    info = layout.read_info(source.path)
    keys = _keys(source.path, info, spec)[0].values()
    videos = [f"videos/{place}{key}/*" for key in keys for place in ("", "chunk-*/")]  # versions 3.0 and 2
    return find_source(address, ("meta/*", "data/*", *videos))


def read_table(recording: Recording) -> pa.Table:
    """The frame table without images: :data:`COLUMNS` and the action's features, all files in order."""
    files = table_files(recording.root, recording.info, recording.episodes)
    columns = [*COLUMNS, *dict.fromkeys(part.key for part in recording.parts)]
    tables = []
    with progress("table") as display:
        for file in display.track(files, description="reading tables") if len(files) > layout.MANY_FILES else files:
            tables.append(layout.read_parquet(file, columns))
    # The types alone: metadata of writers, such as a table's revision, may differ from file to file.
    return pa.concat_tables([table.replace_schema_metadata() for table in tables], promote_options="permissive")


def action_array(recording: Recording, table: pa.Table) -> Actions:
    """The actions of all frames, (N, action_dim) float32, the gripper as 1 open, 0 closed where a spec says how.

    Raises:
        ValueError: a row has another number of values than the embodiment.
    """
    embodiment, spec = recording.embodiment, recording.spec
    where = f"{recording.root / 'data'}"
    arrays = []
    for part in recording.parts:
        values = _column(table, part.key, recording, where)
        if part.end is not None and values.shape[1] < part.end:
            raise ValueError(f"{where}: {part.key} has {values.shape[1]} values, but {part} is asked for")
        arrays.append(values[:, part.start : part.end])
    actions = np.concatenate(arrays, axis=1)
    if actions.shape[1] != embodiment.action_dim:
        raise ValueError(
            f"{where}: the action has {actions.shape[1]} values ({[part.key for part in recording.parts]}), the "
            f"embodiment '{embodiment.name}' {embodiment.action_dim}; correct the specification's action_keys"
        )
    if spec is not None and spec.gripper is not None and (spec.gripper.open, spec.gripper.closed) != (1.0, 0.0):
        gripper = spec.gripper
        column = actions[:, gripper.dimension]
        actions[:, gripper.dimension] = (column - gripper.closed) / (gripper.open - gripper.closed)
    return actions


def index_columns(
    recording: Recording, table: pa.Table
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """episode_index, frame_index, task_index, each (N,); raises ValueError where the table has gaps."""
    where = recording.root / "data"
    lengths = [episode.length for episode in recording.episodes]
    expected = {
        "index": np.arange(sum(lengths)),
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "frame_index": np.concatenate([np.arange(length) for length in lengths]),
    }
    if table.num_rows != sum(lengths):
        raise ValueError(f"{where}: {table.num_rows} frames, the episodes are {sum(lengths)} long")
    for name, values in expected.items():
        found = np.asarray(table[name]).reshape(-1)
        if (found != values).any():
            row = int(np.argmax(found != values))
            raise ValueError(f"{where}: {name} of row {row} is {found[row]}, expected {values[row]} (a gap?)")
    times = np.asarray(table["timestamp"], dtype=np.float64).reshape(-1)
    off = np.abs(times - expected["frame_index"] / recording.fps)
    # float32 timestamps of long episodes are off by more than the tolerance only at their last digit.
    wrong = off > TIME_TOLERANCE + np.spacing(times.astype(np.float32)).astype(np.float64)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{where}: timestamp of row {row} is {times[row]:.4f} s, expected "
            f"{expected['frame_index'][row] / recording.fps:.4f} s at {recording.fps} fps; record at a constant rate"
        )
    return expected["episode_index"], expected["frame_index"], np.asarray(table["task_index"], np.int64).reshape(-1)


def _keys(root: Path, info: Mapping[str, Any], spec: EmbodimentSpec) -> tuple[dict[str, str], tuple[ActionPart, ...]]:
    """Features of the cameras, and where the action stands."""
    modality: dict[str, Any] = {}
    if (root / layout.MODALITY).is_file():
        modality = layout.read_json(root, layout.MODALITY, "restore or remove it")
    try:
        return camera_keys(spec, info["features"], modality), action_parts(spec, info["features"], modality)
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error


def _column(table: pa.Table, key: str, recording: Recording, where: str) -> NDArray[np.float32]:
    """A numeric feature as (N, D) float32; raises ValueError where a row has another length."""
    column = table[key].combine_chunks()
    if not pa.types.is_nested(column.type):
        return np.asarray(column, dtype=np.float32).reshape(-1, 1)
    size = int(np.prod(recording.info["features"][key]["shape"]))
    lengths = np.asarray(pa.compute.list_value_length(column).fill_null(0))
    if (lengths != size).any():
        row = int(np.argmax(lengths != size))
        raise ValueError(f"{where}: {key} of frame {row} has {lengths[row]} values, expected {size}")
    return np.array(column.flatten(), dtype=np.float32).reshape(-1, size)
