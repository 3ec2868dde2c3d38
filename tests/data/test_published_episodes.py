"""Data sets as others publish them: read as LeRobot reads them, each misfit refused with one clear error."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from thinkvla.data.embodiments import SPECIFICATIONS, EmbodimentSpec, Gripper, find_spec
from thinkvla.data.frames import decode_file, frame_files
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.recording import open_recording
from thinkvla.data.refresh import refresh_statistics
from thinkvla.data.validate import validate

FIXTURES = Path(__file__).parent / "fixtures"
SPEC = find_spec(str(FIXTURES / "embodiment.json"))
CAMERAS = {"front": "observation.images.image", "wrist": "observation.images.wrist_image"}


@pytest.fixture(params=["lerobot_v30", "lerobot_v21"])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a data set that LeRobot wrote."""
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / request.param))


def test_read_as_lerobot_reads_it(published: Path) -> None:
    """Actions, padding, timestamps and tasks exactly; stored images exactly, video within a rounding of its colours."""
    expected = np.load(FIXTURES / f"{published.name}.npz")
    dataset = EpisodeDataset(published, spec=SPEC)
    assert len(dataset) == len(expected["action"]) == 30
    for index in range(len(dataset)):
        actions, is_pad = dataset.actions(index, 4)
        np.testing.assert_array_equal(actions, expected["action"][index])
        np.testing.assert_array_equal(is_pad, expected["action_is_pad"][index])
        assert dataset.instruction(index) == expected["task"][index]
    np.testing.assert_array_equal(dataset.episode_index, expected["episode_index"])
    np.testing.assert_array_equal(dataset.frame_index, expected["frame_index"])
    times = (dataset.frame_index / dataset.embodiment.control_hz).astype(np.float32)
    np.testing.assert_array_equal(times, expected["timestamp"])
    for place, index in enumerate(expected["pictures"]):
        frames = dataset.frames(int(index))
        np.testing.assert_array_equal(frames["wrist"], expected[CAMERAS["wrist"]][place])
        difference = np.abs(frames["front"].astype(int) - expected[CAMERAS["front"]][place])
        assert difference.max() <= 3
        assert difference.mean() < 0.5


def test_nothing_is_written_outside_the_cache(published: Path) -> None:
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    EpisodeDataset(published, spec=SPEC).frames(0)
    refresh_statistics(published, SPEC)
    after = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    assert {path: content for path, content in after.items() if ".cache" not in path.parts} == before


def test_images_in_tables_alone(published: Path) -> None:
    """A data set without videos has no ``video_path``; videos of cameras that are not asked for do not count."""
    expected = np.load(FIXTURES / f"{published.name}.npz")[CAMERAS["wrist"]]
    spec = replace(SPEC, cameras={"hand": CAMERAS["wrist"]})
    before = EpisodeDataset(published, spec=spec).fingerprint
    shutil.rmtree(published / "videos")
    assert EpisodeDataset(published, spec=spec).fingerprint == before
    info = published / "meta/info.json"
    values = json.loads(info.read_text())
    del values["features"][CAMERAS["front"]]
    info.write_text(json.dumps(values | {"video_path": None}))
    dataset = EpisodeDataset(published, spec=spec)
    np.testing.assert_array_equal(dataset.frames(5)["hand"], expected[1])
    assert validate(published, spec).problems == ()


def test_version_2_0_is_read_like_2_1(tmp_path: Path) -> None:
    """It differs in statistics alone, which are measured here."""
    root = Path(shutil.copytree(FIXTURES / "lerobot_v21", tmp_path / "set"))
    (root / "meta/episodes_stats.jsonl").unlink()
    info = root / "meta/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"codebase_version": "v2.0"}))
    dataset = EpisodeDataset(root, spec=SPEC)
    np.testing.assert_array_equal(dataset.all_actions, np.load(FIXTURES / "lerobot_v21.npz")["action"][:, 0])


def test_statistics_are_measured_once_and_refused_when_stale(published: Path) -> None:
    dataset = EpisodeDataset(published, spec=SPEC)
    values = dataset.all_actions.astype(np.float64)
    np.testing.assert_array_equal(dataset.statistics["action"]["min"], values.min(0))
    np.testing.assert_allclose(dataset.statistics["action"]["q99"], np.quantile(values, 0.99, axis=0))
    [file] = (published / ".cache").glob("statistics-*.json")
    written = file.stat().st_mtime_ns
    assert EpisodeDataset(published, spec=SPEC).fingerprint == dataset.fingerprint
    assert file.stat().st_mtime_ns == written
    _halve_actions(published)
    [problem] = validate(published, SPEC).problems
    assert "computed from other actions" in problem
    with pytest.raises(ValueError, match=r"statistics-.*computed from other actions.*data refresh"):
        EpisodeDataset(published, spec=SPEC)
    refresh_statistics(published, SPEC)
    edited = EpisodeDataset(published, spec=SPEC)
    np.testing.assert_allclose(edited.statistics["action"]["min"][:6], values.min(0)[:6] / 2)
    assert edited.fingerprint != dataset.fingerprint
    file.write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        EpisodeDataset(published, spec=SPEC)


def _halve_actions(root: Path) -> None:
    for file in root.glob("data/*/*.parquet"):
        table = pq.read_table(file)
        halved = [[value / 2 for value in row] for row in table["action"].to_pylist()]
        place = table.schema.get_field_index("action")
        pq.write_table(table.set_column(place, "action", pa.array(halved, table["action"].type)), file)


def test_smaller_images_by_the_stated_filter(published: Path) -> None:
    """Half the size: what Pillow's antialiased bilinear filter gives for the full size."""
    full = EpisodeDataset(published, spec=SPEC)
    half = EpisodeDataset(published, spec=replace(SPEC, image_size=(32, 32)))
    assert half.fingerprint != full.fingerprint
    for camera, image in half.frames(11).items():
        picture = Image.fromarray(full.frames(11)[camera]).resize((32, 32), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(picture))
    squashed = EpisodeDataset(published, spec=replace(SPEC, image_size=(32, 64)))
    with pytest.raises(ValueError, match=r"frames are \(64, 64\).*another shape"):
        squashed.frames(0)


def test_keys_of_modality_json(published: Path) -> None:
    modality: dict[str, Any] = {
        "action": {
            "gripper": {"start": 6, "end": 7},
            "position": {"start": 0, "end": 3, "original_key": "action"},
            "rotation": {"start": 3, "end": 6},
        },
        "video": {"primary": {"original_key": CAMERAS["front"]}, "wrist_image": {}},
    }
    (published / "meta/modality.json").write_text(json.dumps(modality))
    plain = EpisodeDataset(published, spec=SPEC)
    named = replace(
        SPEC,
        cameras={"wrist": "video.wrist_image", "front": "video.primary"},
        action_keys=("action.gripper", "action.rotation", "action[0:3]"),
        action_names=tuple("gabcxyz"),
        action_low=(-1.0,) * 7,
        gripper=Gripper(dimension=0, open=0.0, closed=1.0),
        raw=(0,),
    )
    dataset = EpisodeDataset(published, spec=named)
    assert dataset.embodiment.cameras == ("wrist", "front")
    np.testing.assert_array_equal(dataset.frames(3)["front"], plain.frames(3)["front"])
    expected = plain.all_actions[:, [6, 3, 4, 5, 0, 1, 2]]
    expected[:, 0] = 1 - expected[:, 0]
    np.testing.assert_array_equal(dataset.all_actions, expected)


def test_the_specification_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spec = EmbodimentSpec.from_dict(json.loads(block), "docs/data.md")
    assert spec.gripper == Gripper(6, 0.08, 0.0)
    assert set(json.loads(block)) == {field.name for field in fields(EmbodimentSpec)}


def test_ready_made_specifications() -> None:
    for name, spec in SPECIFICATIONS.items():
        assert EmbodimentSpec.from_dict(json.loads(json.dumps(spec.to_dict())), name) == spec
        assert spec.embodiment(10).action_dim == 7
        assert spec.raw == (6,)
    assert SPECIFICATIONS["libero"].embodiment(20) == SPECIFICATIONS["libero_lerobot"].embodiment(10)
    assert list(SPECIFICATIONS["libero"].cameras) == ["front", "wrist"]
    assert SPECIFICATIONS["bridge"].normalization == "quantile"
    assert len(SPECIFICATIONS["bridge"].cameras) == 1


def test_libero_in_both_publications_is_one_embodiment(published: Path, tmp_path: Path) -> None:
    """The gripper of one is the simulator's −1 open, +1 closed; read, both are 1 open, 0 closed."""
    other = Path(shutil.copytree(published, tmp_path / "other"))
    for file in other.glob("data/*/*.parquet"):
        table = pq.read_table(file)
        rows = [[*row[:6], 1 - 2 * row[6]] for row in table["action"].to_pylist()]
        place = table.schema.get_field_index("action")
        pq.write_table(table.set_column(place, "action", pa.array(rows, table["action"].type)), file)
    libero = replace(SPECIFICATIONS["libero"], image_size=(64, 64))
    lerobot = replace(SPECIFICATIONS["libero_lerobot"], image_size=(64, 64), cameras=SPECIFICATIONS["libero"].cameras)
    first, second = EpisodeDataset(published, spec=libero), EpisodeDataset(other, spec=lerobot)
    assert first.embodiment == second.embodiment
    np.testing.assert_allclose(first.all_actions, second.all_actions, atol=1e-7)
    with pytest.raises(ValueError, match="outside"):
        EpisodeDataset(other, spec=replace(libero, name="wrong sign"))


def test_validate_published_sets(published: Path) -> None:
    report = validate(published, SPEC)
    assert report.problems == ()
    version = "v3.0" if published.name.endswith("30") else "v2.1"
    assert f"LeRobot {version}, 3 episodes, 30 frames" in str(report)
    [problem] = validate(published).problems
    assert "embodiment.json is missing" in problem
    assert "--data.embodiments" in problem


def test_one_clear_error_for_each_fault(published: Path) -> None:
    faults: list[tuple[EmbodimentSpec, str]] = [
        (replace(SPEC, cameras={"front": "observation.images.top"}), r"camera 'front'.*has \['observation"),
        (replace(SPEC, cameras={"front": "observation.state"}), "no images are called 'observation.state'"),
        (replace(SPEC, action_keys=("actions",)), r"action key 'actions'.*the data set has \['action'"),
        (replace(SPEC, action_keys=("action[0:6]",)), "the action has 6 values.*'fixture_arm' 7"),
        (replace(SPEC, action_keys=("action[0:9]",)), "action has 7 values, but"),
        (replace(SPEC, action_high=(0.1,) * 7), "outside"),
    ]
    for spec, message in faults:
        with pytest.raises(ValueError, match=message):
            EpisodeDataset(published, spec=spec)
    info = published / "meta/info.json"
    values = json.loads(info.read_text())
    for change, message in (
        ({"fps": 19}, r"timestamp of row 1 is 0\.0500 s, expected 0\.0526 s"),
        ({"total_frames": 31}, "says 3 episodes and 31 frames"),
        ({"video_path": None}, "'video_path' is missing"),
    ):
        info.write_text(json.dumps(values | change))
        with pytest.raises(ValueError, match=message):
            EpisodeDataset(published, spec=SPEC)


def test_faults_of_version_2(tmp_path: Path) -> None:
    root = Path(shutil.copytree(FIXTURES / "lerobot_v21", tmp_path / "set"))
    tasks, episodes = root / "meta/tasks.jsonl", root / "meta/episodes.jsonl"
    whole = {file: file.read_text() for file in (tasks, episodes)}

    def refuses(file: Path, content: str | None, message: str) -> None:
        file.write_text(content) if content is not None else file.unlink()
        with pytest.raises(ValueError, match=message):
            EpisodeDataset(root, spec=SPEC)
        file.write_text(whole[file])

    refuses(tasks, None, r"tasks\.jsonl is missing")
    refuses(tasks, "{\n", r"tasks\.jsonl: line 1 is not valid JSON")
    refuses(episodes, '{"episode_index": 0}\n', r"line 1 lacks \['length'\]")
    refuses(
        episodes, whole[episodes].replace('"episode_index": 1', '"episode_index": 2'), r"line 2 is episode 2.*a gap"
    )
    (root / "data/chunk-000/episode_000001.parquet").unlink()
    with pytest.raises(ValueError, match=r"episode_000001\.parquet cannot be read"):
        EpisodeDataset(root, spec=SPEC)


def test_a_broken_image_is_named(published: Path) -> None:
    file = sorted(published.glob("data/*/*.parquet"))[-1]
    table = pq.read_table(file)
    key = CAMERAS["wrist"]
    images = table[key].to_pylist()
    images[-1]["bytes"] = b"no image"
    pq.write_table(table.set_column(table.schema.get_field_index(key), key, pa.array(images)), file)
    dataset = EpisodeDataset(published, spec=SPEC)
    with pytest.raises(ValueError, match=r"wrist_image of frame 29: the image cannot be read"):
        dataset.frames(0)
    [problem] = validate(published, SPEC).problems
    assert "wrist_image of frame 29" in problem


def test_a_killed_build_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a killed build is the partial file and the list of videos that are in it."""
    root = Path(shutil.copytree(FIXTURES / "lerobot_v21", tmp_path / "set"))
    whole = EpisodeDataset(root, spec=SPEC)
    expected = [whole.frames(index)["front"].copy() for index in range(len(whole))]
    cache = root / ".cache"
    final = cache / f"frames-{whole.fingerprint}.npy"
    partial, record = final.with_suffix(".partial"), final.with_suffix(".done")
    final.unlink()

    recording = open_recording(root, SPEC)
    decoded: list[str] = []

    class Killed(BaseException):
        pass

    def until_third(recording: Any, file: Any) -> Any:
        if len(decoded) == 2:
            raise Killed
        decoded.append(file.path.name)
        return decode_file(recording, file)

    monkeypatch.setattr("thinkvla.data.frame_cache.KEEP_EVERY", -1.0)
    monkeypatch.setattr("thinkvla.data.frame_cache.decode_file", until_third)
    with pytest.raises(Killed):
        EpisodeDataset(root, spec=SPEC).frames(0)
    assert partial.is_file()
    assert len(record.read_text().splitlines()) == 2
    assert not final.exists()

    rest: list[str] = []

    def counted(recording: Any, file: Any) -> Any:
        rest.append(file.path.name)
        return decode_file(recording, file)

    monkeypatch.setattr("thinkvla.data.frame_cache.decode_file", counted)
    again = EpisodeDataset(root, spec=SPEC)
    for index, image in enumerate(expected):
        np.testing.assert_array_equal(again.frames(index)["front"], image)
    assert len(rest) == sum(len(frame_files(recording, camera)) for camera in SPEC.cameras) - 2
    assert sorted(path.name for path in cache.glob("frames-*")) == [final.name]


def test_frames_decoded_one_by_one(published: Path) -> None:
    """The same as all at once, in any order, in a worker too; images in tables cannot be had like that."""
    spec = replace(SPEC, cameras={"front": CAMERAS["front"]}, image_size=(32, 32))
    once = EpisodeDataset(published, spec=spec)
    single = EpisodeDataset(published, spec=spec, decode_once=False)
    order = [*np.random.default_rng(0).permutation(30), *range(30), -1]
    for index in order:
        np.testing.assert_array_equal(single.frames(int(index))["front"], once.frames(int(index))["front"])
    sent = pickle.loads(pickle.dumps(single))
    np.testing.assert_array_equal(sent.frames(12)["front"], once.frames(12)["front"])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(single.frames, range(30)).get(timeout=100)
    for index, frames in enumerate(found):
        np.testing.assert_array_equal(frames["front"], once.frames(index)["front"])
    with pytest.raises(ValueError, match=r"wrist_image' stand in the tables.*data\.decode_once"):
        EpisodeDataset(published, spec=SPEC, decode_once=False).frames(0)


def test_broken_videos_decoded_one_by_one(published: Path) -> None:
    spec = replace(SPEC, cameras={"front": CAMERAS["front"]})
    video = sorted((published / "videos").rglob("*.mp4"))[0]
    video.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"mp4: the video cannot be decoded"):
        EpisodeDataset(published, spec=spec, decode_once=False).frames(0)
    shutil.copy(sorted((FIXTURES / "lerobot_v21/videos").rglob("*.mp4"))[1], video)
    with pytest.raises(ValueError, match="frame 9 is missing"):
        EpisodeDataset(published, spec=spec, decode_once=False).frames(9)
    video.unlink()
    with pytest.raises(ValueError, match="the video file is missing"):
        EpisodeDataset(published, spec=spec, decode_once=False).frames(0)


def test_faults_of_a_specification(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'libro' is neither.*did you mean 'libero'"):
        find_spec("libro")
    file = tmp_path / "arm.json"
    values = SPEC.to_dict()
    for content, message in (
        ("{", "not valid JSON"),
        (json.dumps({"name": "arm"}), r"keys \['action_high'.*are missing"),
        (json.dumps(values | {"colour": 1}), r"\['colour'\] unknown"),
        (json.dumps(values | {"normalization": "none"}), "normalization is 'none'"),
        (json.dumps(values | {"raw": [7]}), "raw names dimension 7 of 7"),
        (json.dumps(values | {"cameras": {}}), "cameras is empty"),
        (json.dumps(values | {"gripper": {"dimension": 6}}), "is not of the form.*open"),
        (json.dumps(values | {"raw": 6}), "is not of the form"),
        (json.dumps(values | {"gripper": {"dimension": 6, "open": 1, "closed": 1}}), "same value"),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=message):
            find_spec(str(file))
    with pytest.raises(ValueError, match="rotation is 'euler'"):
        replace(SPEC, rotation="euler").embodiment(10)  # type: ignore[arg-type]
