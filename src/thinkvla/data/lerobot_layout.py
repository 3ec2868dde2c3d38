"""Where everything stands in a LeRobot data set, and reading its metadata with clear errors.

Versions 3.0 (many episodes a file), 2.1 and 2.0 (one table an episode, one video an episode and camera). Beyond the
format, a data set of ours holds ``meta/embodiment.json`` (what its actions mean), ``meta/statistics_source.json``
(what its statistics were computed from) and, for simulated data, ``pointmaps/`` (true 3D points, training only).
LeRobot's own reader ignores these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thinkvla.contract import Embodiment
from thinkvla.data.statistics import FeatureStatistics
from thinkvla.progress import progress

VERSION = "v3.0"
OLDER = ("v2.1", "v2.0")
INFO = "meta/info.json"
STATISTICS = "meta/stats.json"
STATISTICS_SOURCE = "meta/statistics_source.json"
EMBODIMENT = "meta/embodiment.json"
MODALITY = "meta/modality.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
POINT_MAPS = "pointmaps/episode_{episode_index:06d}.npy"
POINT_MAPS_INFO = "pointmaps/info.json"
FILES_PER_CHUNK = 1000
HASHED_BYTES = 64 * 1024
MANY_FILES = 2000


def video_key(camera: str) -> str:
    """The feature name of a camera's images."""
    return f"observation.images.{camera}"


def read_json(root: Path, name: str, repair: str) -> dict[str, Any]:
    """One JSON object below ``root``; raises ValueError, with ``repair`` as what to do, if there is none."""
    path = root / name
    if not path.is_file():
        raise ValueError(f"{path} is missing; {repair}")
    try:
        values = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); {repair}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(values).__name__}; {repair}")
    return values


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json``, its version checked."""
    info = read_json(root, INFO, f"is {root} a LeRobot data set?")
    version = info.get("codebase_version")
    if version not in (VERSION, *OLDER):
        raise ValueError(
            f"{root / INFO}: codebase_version is {version!r}, this reader knows {[VERSION, *OLDER]}; convert the data "
            "set with LeRobot's own scripts"
        )
    needed = ["fps", "features", "data_path", "total_frames", "total_episodes"]
    for key in [*needed, "chunks_size"] if version in OLDER else needed:
        if key not in info:
            raise ValueError(f"{root / INFO}: '{key}' is missing; every LeRobot {version} data set has it")
    return info


def read_embodiment(root: Path, info: Mapping[str, Any]) -> Embodiment:
    """``meta/embodiment.json``, checked against the cameras, image size, action size and rate of ``info``."""
    repair = (
        "write the robot's thinkvla.contract.Embodiment there (its to_dict form), or name a specification with "
        "--data.embodiments (docs/data.md)"
    )
    embodiment = Embodiment.from_dict(read_json(root, EMBODIMENT, repair))
    features = info["features"]
    for camera in embodiment.cameras:
        feature = features.get(video_key(camera))
        if feature is None:
            has = sorted(k for k in features if k.startswith("observation.images."))
            raise ValueError(f"{root}: camera '{camera}' of embodiment '{embodiment.name}' is missing; it has {has}")
        if tuple(feature["shape"]) != (*embodiment.image_size, 3):
            raise ValueError(
                f"{root / INFO}: {video_key(camera)} has shape {feature['shape']}, the embodiment says "
                f"{[*embodiment.image_size, 3]} (height, width, RGB); correct one of them"
            )
    if list(features.get("action", {}).get("shape", [])) != [embodiment.action_dim]:
        raise ValueError(
            f"{root / INFO}: feature 'action' is {features.get('action')}, the embodiment has "
            f"{embodiment.action_dim} dimensions; correct one of them"
        )
    if info["fps"] != embodiment.control_hz:
        raise ValueError(
            f"{root / INFO}: fps is {info['fps']}, the embodiment's control_hz is {embodiment.control_hz}; "
            "correct one of them"
        )
    return embodiment


def read_parquet(path: Path, columns: list[str]) -> pa.Table:
    """Some columns of a parquet file; raises ValueError if it is missing, broken, or lacks one of them."""
    try:
        missing = sorted(set(columns) - set(pq.read_schema(path).names))
        if missing:
            raise ValueError(f"{path}: columns {missing} are missing; generate or convert the data set again")
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read ({error}); restore it or generate the data set again") from error


def read_statistics(root: Path, keys: tuple[str, ...]) -> dict[str, FeatureStatistics]:
    """``meta/stats.json`` for the features ``keys``."""
    repair = f"run 'thinkvla data refresh {root}'"
    values = read_json(root, STATISTICS, repair)
    statistics = {}
    for key in keys:
        wanted = {"min", "max", "mean", "std", "count", "q01", "q99"}
        missing = sorted(wanted - set(values.get(key, {})))
        if missing:
            raise ValueError(f"{root / STATISTICS}: '{key}' lacks {missing}; {repair}")
        statistics[key] = FeatureStatistics.from_dict(values[key])
    return statistics


def fingerprint(root: Path) -> str:
    """Identifies the content below ``root``: every file's name and size; tables and metadata in full.

    Videos and point maps are hashed by their two ends: an mp4 lists the size of each of its frames there.
    """
    folders = [root / name for name in ("meta", "data", "videos", "pointmaps")]
    return hash_files(root, (file for folder in folders for file in folder.rglob("*")), (".mp4", ".npy"))


def hash_files(root: Path, files: Iterable[Path], by_ends: tuple[str, ...]) -> str:
    """Identifies names, sizes and content of ``files``; large ones with a suffix of ``by_ends`` by their two ends."""
    digest = hashlib.blake2b(digest_size=16)
    found = sorted(file for file in set(files) if file.is_file())
    with progress("file") as display:
        for path in display.track(found, description="looking for changes") if len(found) > MANY_FILES else found:
            size = path.stat().st_size
            digest.update(f"{path.relative_to(root).as_posix()}\0{size}\0".encode())
            with path.open("rb") as stream:
                if path.suffix in by_ends and size > 2 * HASHED_BYTES:
                    digest.update(stream.read(HASHED_BYTES))
                    stream.seek(-HASHED_BYTES, 2)
                digest.update(stream.read())
    return digest.hexdigest()
