"""Generation in the simulator: what it writes, from which seeds, whatever the number of workers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinkvla.data import generate as generation
from thinkvla.data.generate import GenerateOptions, generate
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.parallel import in_order
from thinkvla.data.spatial_qa import QADataset
from thinkvla.data.validate import validate
from thinkvla.tabletop import demonstrate
from thinkvla.tabletop.seeds import seeds


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("generate") / "made"
    return output, generate(GenerateOptions(output, episodes=2, questions=3, questions_per_picture=3, workers=1))


def test_everything_is_there_and_sound(made: tuple[Path, dict[str, Any]]) -> None:
    output, record = made
    assert validate(output).problems == ()
    assert json.loads((output / "generation.json").read_text()) == json.loads(json.dumps(record))
    dataset = EpisodeDataset(output / "episodes")
    assert len(dataset.episodes) == record["demonstrations"]["episodes"] == 2
    assert len(dataset) == record["demonstrations"]["frames"]
    assert len(dataset.instructions) == 2
    assert dataset.point_maps(0).shape == (2, 24, 24, 3)
    assert dataset.embodiment.name == "tabletop"
    spatial, general = QADataset(output / "spatial_qa"), QADataset(output / "general_qa")
    assert len(spatial) == sum(record["questions"]["spatial"].values()) <= 9
    assert len(general) == sum(record["questions"]["general"].values()) <= 9
    assert sum(record["questions"]["cameras"].values()) == 3
    [image] = general[0].images
    assert image.shape == (96, 96, 3)


def test_scenes_are_training_scenes_and_demonstrations_share_none_with_questions(
    made: tuple[Path, dict[str, Any]],
) -> None:
    training, test = seeds("training"), seeds("test")
    demonstrations = made[1]["demonstrations"]["seeds"]
    questions = made[1]["questions"]["seeds"]
    for seed in (*demonstrations, *questions):
        assert seed in training
        assert seed not in test
    assert demonstrations[1] < len(training) // 2 <= questions[0]


@pytest.mark.slow
def test_workers_do_not_change_the_result(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "again"
    generate(GenerateOptions(output, episodes=2, questions=3, questions_per_picture=3, workers=2))
    files = sorted(path.relative_to(output) for path in output.rglob("*") if path.is_file())
    for file in files:
        if file.name != "generation.json":
            assert (output / file).read_bytes() == (made[0] / file).read_bytes(), file
    assert EpisodeDataset(output / "episodes").fingerprint == EpisodeDataset(made[0] / "episodes").fingerprint


def test_failed_demonstrations_are_counted_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = demonstrate.record_episode

    def every_other(world: Any, seed: int, noise: Any) -> Any:
        episode = real(world, seed, noise)
        return dataclasses.replace(episode, success=episode.task != "red_cube_on_blue_plate")

    monkeypatch.setattr(generation, "record_episode", every_other)
    record = generate(GenerateOptions(tmp_path / "x", episodes=1, questions=1, workers=1))
    assert record["demonstrations"]["failed"] == [{"suite": "object", "task": "red_cube_on_blue_plate", "seed": 0}]
    assert "put the red cube on the blue plate" not in EpisodeDataset(tmp_path / "x/episodes").instructions

    monkeypatch.setattr(generation, "MANY_FAILURES", 1)
    monkeypatch.setattr(generation, "record_episode", lambda *a: dataclasses.replace(real(*a), success=False))
    with pytest.raises(ValueError, match="2 demonstrations failed and 0 succeeded"):
        generate(GenerateOptions(tmp_path / "y", episodes=1, questions=1, workers=1))
    assert not (tmp_path / "y").exists()


def test_options_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="episodes is 0, expected at least 1"):
        generate(GenerateOptions(tmp_path / "x", episodes=0))
    with pytest.raises(ValueError, match="did you mean 'object'"):
        generate(GenerateOptions(tmp_path / "x", suites=("object", "objekt")))
    with pytest.raises(ValueError, match="'height_heldout' is for evaluation only; make demonstrations of"):
        generate(GenerateOptions(tmp_path / "x", suites=("height_heldout",)))
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        generate(GenerateOptions(tmp_path / "x"))


def test_results_come_in_order_and_only_as_needed() -> None:
    taken = []

    def jobs() -> Any:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(np.negative, jobs(), workers=2)
    assert [int(next(results)) for _ in range(5)] == [0, -1, -2, -3, -4]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 15


def test_suites_take_turns_task_by_task(tmp_path: Path) -> None:
    task = "red_cube_on_blue_plate"  # a name that two suites know
    options = GenerateOptions(
        tmp_path / "set", suites=("object", "height"), tasks=(task,), episodes=3, questions=3, workers=1
    )
    made = generate(options)
    assert made["demonstrations"]["per_task"] == {"object": {task: 2}, "height": {task: 1}}
    assert made["questions"]["suites"] == {"height": 1, "object": 2}
    assert made["demonstrations"]["seeds"] == [0, 1]
    with pytest.raises(ValueError, match=r"have no tasks \['grene_ball'\]"):
        generate(dataclasses.replace(options, output=tmp_path / "other", tasks=(task, "grene_ball")))
    with pytest.raises(ValueError, match=r"is of suites \['spatial'\]; leave those suites out"):
        generate(dataclasses.replace(options, output=tmp_path / "other", suites=("object", "spatial")))


def test_each_task_has_exactly_as_many_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = demonstrate.record_episode
    tasks = ("red_cube_on_blue_plate", "green_ball_in_red_bowl")

    def fails_once(world: Any, seed: int, noise: Any) -> Any:
        episode = real(world, seed, noise)
        return dataclasses.replace(episode, success=(episode.task, seed) != (tasks[0], 0))

    monkeypatch.setattr(generation, "record_episode", fails_once)
    options = GenerateOptions(tmp_path / "set", tasks=tasks, episodes=1, per_task=2, questions=1, workers=1)
    made = generate(options)["demonstrations"]
    assert made["per_task"] == {"object": {tasks[1]: 2, tasks[0]: 2}}
    assert made["failed"] == [{"suite": "object", "task": tasks[0], "seed": 0}]
    assert (made["episodes"], made["seeds"]) == (4, [0, 2])
    with pytest.raises(ValueError, match="per_task is 0, expected at least 1"):
        generate(dataclasses.replace(options, output=tmp_path / "other", per_task=0))
