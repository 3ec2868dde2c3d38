"""The LeRobot v3.0 format: what is written, what comes back, what is refused."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from block_episodes import EMBODIMENT, LENGTHS, TASKS, Blocks, sample_episodes, write

from thinkvla.contract import ContractError
from thinkvla.data.lerobot_layout import read_info
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.lerobot_writer import write_episodes
from thinkvla.data.refresh import refresh_statistics


@pytest.fixture(scope="module")
def episodes() -> list[Blocks]:
    return sample_episodes()


@pytest.fixture
def dataset_path(tmp_path: Path, episodes: list[Blocks]) -> Path:
    return write(tmp_path / "blocks", episodes)


def test_every_frame_comes_back_in_its_colours(dataset_path: Path, episodes: list[Blocks]) -> None:
    dataset = EpisodeDataset(dataset_path)
    assert len(dataset) == sum(LENGTHS)
    index = 0
    for number, episode in enumerate(episodes):
        for step in range(len(episode.actions)):
            frames = dataset.frames(index)
            for camera in EMBODIMENT.cameras:
                error = np.abs(frames[camera].astype(int) - episode.images[camera][step])
                assert error.mean() < 1.5
                assert error.max() < 60  # 4:2:0 would be off by more than 100 at the block's edge
            assert dataset.instruction(index) == episode.instruction
            assert (dataset.episode_index[index], dataset.frame_index[index]) == (number, step)
            np.testing.assert_array_equal(dataset.point_maps(index), episode.point_maps[step])
            index += 1


def test_chunks_end_with_their_episode(dataset_path: Path, episodes: list[Blocks]) -> None:
    dataset = EpisodeDataset(dataset_path)
    actions, is_pad = dataset.actions(LENGTHS[0] - 2, horizon=4)
    last = episodes[0].actions[-1]
    np.testing.assert_array_equal(actions, np.stack([episodes[0].actions[-2], last, last, last]))
    assert is_pad.tolist() == [False, False, True, True]
    actions, is_pad = dataset.actions(LENGTHS[0], horizon=4)
    np.testing.assert_array_equal(actions, episodes[1].actions[:4])
    assert not is_pad.any()
    np.testing.assert_array_equal(dataset.actions(-1, 2)[0], episodes[-1].actions[[-1, -1]])
    with pytest.raises(IndexError):
        dataset.actions(len(dataset), 2)


def test_many_small_files_read_like_one(tmp_path: Path, episodes: list[Blocks]) -> None:
    whole = EpisodeDataset(write(tmp_path / "whole", episodes))
    sharded_path = write(tmp_path / "sharded", episodes, max_file_bytes=1)
    sharded = EpisodeDataset(sharded_path)
    assert len(list(sharded_path.glob("data/*/*.parquet"))) == len(LENGTHS)
    assert len(list(sharded_path.glob("videos/*/*/*.mp4"))) > 2
    for index in range(len(whole)):
        np.testing.assert_array_equal(whole.actions(index, 3)[0], sharded.actions(index, 3)[0])
        episode, step = episodes[whole.episode_index[index]], whole.frame_index[index]
        for camera in EMBODIMENT.cameras:
            assert np.abs(sharded.frames(index)[camera].astype(int) - episode.images[camera][step]).mean() < 1.5


def test_the_columns_that_lerobot_reads(dataset_path: Path) -> None:
    info = read_info(dataset_path)
    assert (info["total_frames"], info["total_episodes"], info["total_tasks"]) == (33, 4, 2)
    assert info["features"]["observation.images.front"]["info"]["video.pix_fmt"] == "yuv444p"
    table = pq.read_table(dataset_path / "data/chunk-000/file-000.parquet")
    assert set(table.column_names) == set(info["features"]) - {
        "observation.images.front",
        "observation.images.wrist",
    }
    assert table["index"].to_pylist() == list(range(33))
    assert table["timestamp"].to_pylist()[:9] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0, 0.1])
    tasks = pq.read_table(dataset_path / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": list(TASKS)}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    rows = pq.read_table(dataset_path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["dataset_from_index"] for row in rows] == [0, 7, 19, 24]
    assert [row["dataset_to_index"] for row in rows] == [7, 19, 24, 33]
    key = "videos/observation.images.front"
    assert [row[f"{key}/from_timestamp"] for row in rows] == pytest.approx([0, 0.7, 1.9, 2.4])
    assert [row[f"{key}/to_timestamp"] for row in rows] == pytest.approx([0.7, 1.9, 2.4, 3.3])
    assert rows[1]["tasks"] == [TASKS[1]]
    assert np.shape(rows[1]["stats/observation.images.front/mean"]) == (3, 1, 1)


def test_writing_twice_gives_the_same_content(tmp_path: Path, episodes: list[Blocks]) -> None:
    first = EpisodeDataset(write(tmp_path / "a", episodes)).fingerprint
    assert first == EpisodeDataset(write(tmp_path / "b", episodes)).fingerprint
    changed = [*episodes[:-1], Blocks(9, LENGTHS[-1])]
    assert first != EpisodeDataset(write(tmp_path / "c", changed)).fingerprint


def _stop_after_one(path: Path, episode: Blocks) -> None:
    with write_episodes(path, EMBODIMENT) as writer:
        writer.add_episode(episode.images, episode.actions, "push")
        raise RuntimeError("stop")


def test_a_broken_run_leaves_nothing(tmp_path: Path, episodes: list[Blocks]) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        _stop_after_one(tmp_path / "x", episodes[0])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no episode was added"), write_episodes(tmp_path / "x", EMBODIMENT):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_writer_refuses_what_does_not_fit(dataset_path: Path, tmp_path: Path, episodes: list[Blocks]) -> None:
    with pytest.raises(ValueError, match=r"blocks exists already; choose another"):
        write(dataset_path, episodes)
    with pytest.raises(ValueError, match="whole number of frames"):
        write_episodes(tmp_path / "y", replace(EMBODIMENT, control_hz=2.5)).__enter__()
    good = episodes[0]
    faults: list[tuple[dict[str, Any], str]] = [
        ({"actions": good.actions * 3}, "outside"),
        ({"actions": good.actions.astype(np.float64)}, "float32"),
        ({"actions": np.full_like(good.actions, np.nan)}, "is nan"),
        ({"images": {"front": good.images["front"]}}, "cameras"),
        ({"images": {name: image[1:] for name, image in good.images.items()}}, "expected"),
        ({"instruction": " "}, "instruction is empty"),
        ({"point_maps": good.point_maps.astype(np.float32)}, "float16"),
        ({"point_maps": good.point_maps * np.float16(np.inf)}, "finite"),
    ]
    with write_episodes(tmp_path / "z", EMBODIMENT) as writer:
        for fault, message in faults:
            arguments: dict[str, Any] = {
                "images": good.images,
                "actions": good.actions,
                "instruction": "push",
            }
            with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
                writer.add_episode(**(arguments | fault))
        writer.add_episode(good.images, good.actions, "push", good.point_maps)
        with pytest.raises(ValueError, match="point maps are None a step"):
            writer.add_episode(good.images, good.actions, "push")


def _edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_one_clear_error_for_each_fault(dataset_path: Path) -> None:
    def refuses(message: str) -> None:
        with pytest.raises(ValueError, match=message):
            EpisodeDataset(dataset_path)
        shutil.rmtree(dataset_path / "meta")
        shutil.copytree(backup, dataset_path / "meta")

    backup = dataset_path.with_name("backup")
    shutil.copytree(dataset_path / "meta", backup)
    meta = dataset_path / "meta"
    _edit(meta / "info.json", codebase_version="v1.6")
    refuses("codebase_version is 'v1.6', this reader knows .'v3.0', 'v2.1', 'v2.0'")
    (meta / "info.json").write_text("{")
    refuses("info.json is not valid JSON")
    (meta / "stats.json").unlink()
    refuses("stats.json is missing; run 'thinkvla data refresh")
    _edit(meta / "stats.json", action={"mean": [0.0]})
    refuses("'action' lacks .*'q01'")
    (meta / "statistics_source.json").unlink()
    refuses("statistics_source.json is missing")
    _edit(meta / "statistics_source.json", actions="other")
    refuses("computed from other actions")
    (meta / "embodiment.json").unlink()
    refuses("embodiment.json is missing; write the robot's")
    _edit(meta / "embodiment.json", cameras=["front", "overhead"])
    refuses("camera 'overhead' of embodiment 'blocks' is missing")
    _edit(meta / "embodiment.json", image_size=[64, 64])
    refuses("has shape")
    _edit(meta / "embodiment.json", control_hz=20.0)
    refuses("fps is 10, the embodiment's control_hz is 20.0")
    _edit(meta / "info.json", total_frames=40)
    refuses("says 4 episodes and 40 frames")
    (meta / "tasks.parquet").unlink()
    refuses("tasks.parquet cannot be read")
    (meta / "episodes/chunk-000/file-000.parquet").unlink()
    refuses("no episode tables")
    assert len(EpisodeDataset(dataset_path)) == 33


def test_a_short_or_missing_video_is_named(dataset_path: Path, tmp_path: Path, episodes: list[Blocks]) -> None:
    video = "videos/observation.images.wrist/chunk-000/file-000.mp4"
    shorter = write(tmp_path / "shorter", episodes[:3])
    shutil.copy(shorter / video, dataset_path / video)
    with pytest.raises(ValueError, match=r"wrist.*9 frames are missing, from frame 24 on \(episode 3\)"):
        EpisodeDataset(dataset_path).frames(0)
    (dataset_path / video).unlink()
    with pytest.raises(ValueError, match="the video file is missing"):
        EpisodeDataset(dataset_path).frames(0)
    assert not list((dataset_path / ".cache").iterdir())


def test_point_maps_are_optional(tmp_path: Path, episodes: list[Blocks]) -> None:
    dataset = EpisodeDataset(write(tmp_path / "x", episodes, point_maps=False))
    assert not dataset.has_point_maps
    with pytest.raises(ValueError, match="only simulated data sets have point maps"):
        dataset.point_maps(0)


def _sum_of_frames(path: Path) -> int:
    dataset = EpisodeDataset(path)
    return sum(int(dataset.frames(index)["front"].sum()) for index in range(len(dataset)))


def test_two_processes_may_build_the_cache_at_once(dataset_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_sum_of_frames, [dataset_path] * 2)
    assert first == second == _sum_of_frames(dataset_path)
    assert len(list((dataset_path / ".cache").iterdir())) == 1


def test_a_dataset_travels_to_a_worker_without_its_frames(dataset_path: Path, tmp_path: Path) -> None:
    dataset = EpisodeDataset(dataset_path, cache=tmp_path / "cache")
    dataset.frames(0)
    sent = pickle.dumps(dataset)
    assert len(sent) < len(dataset) * 2 * 32 * 48 * 3 / 20
    np.testing.assert_array_equal(pickle.loads(sent).frames(5)["front"], dataset.frames(5)["front"])


def test_forked_workers_decode_one_by_one_what_their_parent_has_open(dataset_path: Path) -> None:
    """Letting go of a decoder that a parent has made would wait for ever for its threads."""
    once, single = EpisodeDataset(dataset_path), EpisodeDataset(dataset_path, decode_once=False)
    single.frames(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(single.frames, range(33)).get(timeout=100)
    for index, frames in enumerate(found):
        for camera, image in frames.items():
            np.testing.assert_array_equal(image, once.frames(index)[camera])


def test_an_edited_dataset_is_usable_after_a_refresh(dataset_path: Path) -> None:
    file = dataset_path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    column = table.schema.get_field_index("action")
    halved = pa.array(np.array(table["action"].to_pylist(), dtype=np.float32).ravel() / 2)
    pq.write_table(table.set_column(column, "action", pa.FixedSizeListArray.from_arrays(halved, 7)), file)
    with pytest.raises(ValueError, match="computed from other actions"):
        EpisodeDataset(dataset_path)
    statistics = json.loads((dataset_path / "meta/stats.json").read_text())
    refresh_statistics(dataset_path)
    refreshed = EpisodeDataset(dataset_path).statistics
    np.testing.assert_allclose(refreshed["action"]["q99"], np.array(statistics["action"]["q99"]) / 2)
    image = refreshed["observation.images.front"]
    np.testing.assert_allclose(image["mean"], statistics["observation.images.front"]["mean"], atol=0.01)
    assert image.count == 33


def test_actions_outside_the_contract_are_refused(dataset_path: Path) -> None:
    _edit(dataset_path / "meta/embodiment.json", action_high=[0.5] * 7)
    with pytest.raises(ContractError, match=r"data: column 'action': step \d+, '\w+' is .* outside"):
        EpisodeDataset(dataset_path)
