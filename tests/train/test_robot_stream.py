"""Several data sets in one run: shares, statistics, embodiments, and what a run records of them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import SMALL, build

from thinkvla.checkpoint import save_checkpoint
from thinkvla.contract import Observation
from thinkvla.data.embodiments import EmbodimentSpec
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.lerobot_writer import write_episodes
from thinkvla.deploy import load_policy
from thinkvla.preprocessor import Preprocessor
from thinkvla.recipes.registry import recipe
from thinkvla.train.config import DataConfig, TrainConfig
from thinkvla.train.loop import train
from thinkvla.train.robot_stream import RobotSource, RobotStream
from thinkvla.train.setup import build_policy, open_episodes, robots

SPEC = EmbodimentSpec(
    name="arm",
    cameras={"front": "observation.images.front", "wrist": "observation.images.wrist"},
    image_size=(96, 96),
    action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
    action_units=("0.05 m",) * 7,
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
)


def _write(path: Path, seed: int, lengths: tuple[int, ...], scale: float = 1.0, spec: EmbodimentSpec = SPEC) -> str:
    rng = np.random.default_rng(seed)
    with write_episodes(path, replace(spec, name=path.name).embodiment(10)) as writer:
        for length in lengths:
            images = {name: rng.integers(0, 256, (length, 96, 96, 3), dtype=np.uint8) for name in spec.cameras}
            actions = (scale * rng.uniform(-1, 1, (length, 7))).astype(np.float32)
            writer.add_episode(images, actions, f"task of {path.name}")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of one kind and one of another view."""
    folder = tmp_path_factory.mktemp("sets")
    _write(folder / "small", 0, (6, 4))
    _write(folder / "large", 1, (10, 20, 10), scale=0.5)
    return folder


@pytest.fixture
def two(folder: Path, tmp_path: Path) -> Path:
    """A copy of them, with a file for their common specification."""
    path = Path(shutil.copytree(folder, tmp_path / "sets"))
    (path / "arm.json").write_text(json.dumps(SPEC.to_dict()))
    return path


def _data(two: Path, **values: Any) -> DataConfig:
    common = {"episodes": (str(two / "small"), str(two / "large")), "embodiments": (str(two / "arm.json"),)}
    return DataConfig(**(common | {"workers": 0} | values))


def _source(length: int, kept: int) -> RobotSource:
    """A data set that is nothing but its length."""
    return RobotSource(cast(EpisodeDataset, range(length)), None, kept)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 10)), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_shares_by_weight_and_every_frame_once_an_epoch(sets: list[tuple[int, float]], seed: int) -> None:
    stream = RobotStream(
        [_source(length, length) for length, _ in sets], [weight for _, weight in sets], chunk=4, seed=seed
    )
    drawn = [stream.place(position) for position in range(300)]
    total = sum(weight for _, weight in sets)
    for source, (length, weight) in zip(stream.sources, sets, strict=True):
        frames = [frame for one, frame in drawn if one is source]
        assert abs(len(frames) - 300 * weight / total) < len(sets) + 1e-6
        for epoch in range(len(frames) // length):
            assert sorted(frames[epoch * length : (epoch + 1) * length]) == list(range(length))
    assert stream.place(123) == drawn[123]


def test_without_weights_every_frame_is_drawn_alike() -> None:
    stream = RobotStream([_source(30, 20), _source(100, 80)], chunk=4, seed=0)
    drawn = Counter((id(source), frame) for source, frame in map(stream.place, range(100)))
    assert set(drawn.values()) == {1}
    assert (stream.frames, stream.held_out_frames) == (100, 30)
    kept_out = [stream.held_out_place(position) for position in range(30)]
    assert len({(id(source), frame) for source, frame in kept_out}) == 30
    assert all(frame >= source.kept for source, frame in kept_out)


def test_one_embodiment_has_the_statistics_of_all_its_sets(two: Path) -> None:
    for mode, low, high in (("min_max", 0.0, 1.0), ("quantile", 0.01, 0.99)):
        data = _data(two, normalization=mode)
        episodes = open_episodes(data)
        [robot] = robots(data, episodes)
        values = np.concatenate([one.all_actions for one in episodes]).astype(np.float64)
        np.testing.assert_allclose(robot.normalizer.low, np.quantile(values, low, axis=0), atol=1e-12)
        np.testing.assert_allclose(robot.normalizer.high, np.quantile(values, high, axis=0), atol=1e-12)
    [alone] = robots(data, episodes[:1])
    assert alone.normalizer.high != robot.normalizer.high


def test_specifications_decide_the_normalization(two: Path) -> None:
    (two / "arm.json").write_text(json.dumps(replace(SPEC, normalization="quantile", raw=(3,)).to_dict()))
    data = _data(two)
    [robot] = robots(data, open_episodes(data))
    assert (robot.normalizer.mode, robot.normalizer.raw) == ("quantile", (3,))
    [robot] = robots(replace(data, normalization="range"), open_episodes(data))
    assert (robot.normalizer.mode, robot.normalizer.high) == ("range", (1.0,) * 7)


def test_a_run_over_two_sets_of_two_embodiments(two: Path, small_run: TrainConfig) -> None:
    """Each demonstration is normalized by its own embodiment; the policy must be told which one to act for."""
    data = _data(two, embodiments=(), weights=(1.0, 3.0), held_out=0.34)
    method = replace(SMALL, qa_data="none", geometry_adapter=False)
    config = replace(small_run, data=data, method=method, steps=3, save_every=2, batch_size=4)
    episodes = open_episodes(data)
    _, preprocessor = build_policy(config, episodes)
    assert list(preprocessor.robots) == ["small", "large"]
    sample = RobotSource.of(episodes[1], None, 0.0).sample(3, 8)
    batch = preprocessor.robot_batch([RobotSource.of(episodes[0], None, 0.0).sample(3, 8), sample])
    expected = preprocessor.robots["large"].normalizer.normalize(sample.actions)
    np.testing.assert_array_equal(batch.actions_BCA[1].numpy(), expected)

    final = train(config)
    with pytest.raises(ValueError, match=r"several embodiments, \['large', 'small'\]; say which one"):
        load_policy(final, "cpu")
    with pytest.raises(ValueError, match="does not act for the embodiment 'tabletop'"):
        load_policy(final, "cpu", embodiment="tabletop")
    policy = load_policy(final, "cpu", embodiment="large")
    assert policy.embodiment == episodes[1].embodiment
    chunk = policy.act([Observation(episodes[1].frames(0), "lift it")])[0]
    bounds = policy.preprocessor.normalizer
    assert bounds == preprocessor.robots["large"].normalizer
    assert (chunk.actions[:, :6] <= np.asarray(bounds.high)[:6] + 1e-6).all()

    recorded = json.loads((config.output / "data.json").read_text())[: len(episodes)]
    assert [entry["fingerprint"] for entry in recorded] == [one.fingerprint for one in episodes]
    assert [entry["weight"] for entry in recorded] == [1.0, 3.0]
    shutil.rmtree(two / "large")
    _write(two / "large", 5, (10, 20, 10))
    with pytest.raises(ValueError, match=r"not what the run was started with: .*large\.fingerprint"):
        train(config, resume=True)


def test_sets_that_do_not_fit_one_policy(two: Path, small_run: TrainConfig) -> None:
    def refuses(spec: EmbodimentSpec, message: str) -> None:
        (two / "other.json").write_text(json.dumps(spec.to_dict()))
        data = _data(two, embodiments=(str(two / "arm.json"), str(two / "other.json")))
        config = replace(small_run, data=data, method=replace(SMALL, qa_data="none", geometry_adapter=False))
        with pytest.raises(ValueError, match=message):
            build_policy(config, open_episodes(data))

    refuses(replace(SPEC, image_size=(48, 48)), "both of the embodiment 'arm', but differ in its image_size")
    refuses(replace(SPEC, raw=()), "differ in its normalization")
    refuses(replace(SPEC, name="b", image_size=(48, 48)), r"'arm' and 'b' differ in image size \(\(96, 96\) and")
    refuses(replace(SPEC, name="b", cameras={"front": "observation.images.front"}), r"number of views \(2 and 1\)")
    six = replace(
        SPEC,
        name="b",
        action_keys=("action[0:6]",),
        action_names=tuple("abcdef"),
        action_units=("m",) * 6,
        action_low=(-1.0,) * 6,
        action_high=(1.0,) * 6,
        raw=(),
    )
    refuses(six, r"method\.action_dim is 7, but actions in .*large have 6")


def test_faults_of_the_configuration() -> None:
    for values, message in (
        ({"episodes": ()}, "at least one data set"),
        ({"episodes": ("a", "a")}, "each once"),
        ({"episodes": ("a", "b"), "weights": (1.0,)}, "expected 2 positive numbers"),
        ({"episodes": ("a", "b"), "weights": (1.0, 0.0)}, "expected 2 positive numbers"),
        ({"episodes": ("a", "b", "c"), "embodiments": ("libero", "bridge")}, "names 2 for 3 data sets"),
    ):
        with pytest.raises(ValueError, match=message):
            DataConfig(**cast(Any, values))


def test_one_embodiment_keeps_the_form_of_the_file(tmp_path: Path) -> None:
    policy, preprocessor = build()
    save_checkpoint(tmp_path / "policy", policy, preprocessor)
    own = json.loads((tmp_path / "policy/thinkvla_preprocessor.json").read_text())
    assert list(own) == ["embodiment", "normalization", "action_text", "reasoning_text", "crop"]
    assert "rotation" not in own["embodiment"]
    loaded = Preprocessor.load(tmp_path / "policy", policy.config)
    assert loaded.robots == preprocessor.robots
    assert loaded.only("test_arm").robots == preprocessor.robots


def test_a_data_set_of_the_hub(two: Path, small_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched in the revision that is asked for; the run records the commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = two / "snapshots" / commit
    shutil.copytree(two / "small", snapshot)
    asked: list[Any] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append(SimpleNamespace(name=name, **options))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    data = _data(two, episodes=("hf://someone/arm_demos@v1.0",))
    method = replace(SMALL, qa_data="none", geometry_adapter=False)
    config = replace(small_run, data=data, method=method, steps=3, save_every=3)
    train(config)
    assert (asked[0].name, asked[0].revision, asked[0].repo_type) == ("someone/arm_demos", "v1.0", "dataset")
    assert asked[0].allow_patterns == ["meta/*", "README.md"]
    assert asked[1].allow_patterns[:3] == ["meta/*", "data/*", "videos/observation.images.front/*"]
    [recorded] = json.loads((config.output / "data.json").read_text())
    assert (recorded["source"], recorded["revision"]) == ("hf://someone/arm_demos@v1.0", commit)


def test_on_the_command_line() -> None:
    def parse(*arguments: str) -> DataConfig:
        return tyro.cli(TrainConfig, default=recipe("tabletop"), args=arguments).data

    assert parse().episodes == ("data/tabletop/episodes",)
    assert parse("--data.episodes", "data/own").episodes == ("data/own",)
    mixed = parse("--data.episodes", "a", "hf://b/c@main", "--data.weights", "1", "2", "--data.embodiments", "libero")
    assert mixed.episodes == ("a", "hf://b/c@main")
    assert mixed.weights == (1.0, 2.0)
    assert mixed.embodiments == ("libero",)
