"""Data sets from recorded attempts: what is kept, asked and refused, and what goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from libero_scenes import scene, thing

from thinkvla.contract import ContractError
from thinkvla.data.embodiments import SPECIFICATIONS
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.data.spatial_qa import QADataset
from thinkvla.data.validate import validate
from thinkvla.recipes.registry import recipe
from thinkvla.simulators.libero import generate as generation
from thinkvla.simulators.libero.attempts import Attempt, Job, attempt_path, attempts
from thinkvla.simulators.libero.describe import THINGS, absent_names, describe, spoken_name
from thinkvla.simulators.libero.expert_policy import ExpertPolicy
from thinkvla.simulators.libero.generate import GenerateLiberoOptions, generate_libero
from thinkvla.simulators.libero.views import mirrored
from thinkvla.tabletop.questions import general_rows, spatial_rows
from thinkvla.tabletop.state import CameraState

JOB = Job(("libero_object",), (1, 7), episodes=2, image_size=(96, 96), point_stride=4, moments=2)
STEPS = 5


def cameras() -> tuple[CameraState, ...]:
    """In front, looking back at the robot as LIBERO's does, and from above."""
    back = np.stack([[0.0, 1.0, 0.0], [-0.5, 0.0, 0.866], [0.866, 0.0, 0.5]], axis=1)
    above = np.stack([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], axis=1)
    front = CameraState("agentview", np.array([0.9, 0.0, 0.5]), back, 60.0, (96, 96))
    wrist = CameraState("robot0_eye_in_hand", np.array([0.0, 0.0, 0.6]), above, 75.0, (96, 96))
    return mirrored(front, "front"), mirrored(wrist, "wrist")


def attempt(task: int, number: int) -> Attempt:
    rng = np.random.default_rng([task, number])
    truth = scene(thing("milk", 0.05, -0.1), thing("cream_cheese", -0.1, -0.15))
    actions = rng.uniform(-1, 1, (STEPS, 7)).astype(np.float32)
    actions[:, 6] = rng.integers(0, 2, STEPS)
    views = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(c).items()} for c in cameras()]
    return Attempt(
        suite="libero_object",
        task=f"task_{task}",
        instruction=f"do task {task}",
        seed=1_000_000 + 100_000 * task + number,
        images={view: rng.integers(0, 256, (STEPS, 96, 96, 3), dtype=np.uint8) for view in ("front", "wrist")},
        actions=actions,
        point_maps=rng.uniform(-1, 1, (STEPS, 2, 24, 24, 3)).astype(np.float16),
        moments=[{"frame": frame, "truth": truth.to_plain(), "cameras": views} for frame in (1, 3)],
    )


def record(folder: Path, job: Job, workers: int) -> None:
    """In place of the simulators: the first attempt at task 7 fails."""
    for suite, task in job.turns():
        for number in range(job.episodes + 1):
            path = attempt_path(folder, suite, task, number)
            if (task, number) == (7, 0):
                path.with_suffix(".failed").touch()
            elif not path.exists():
                attempt(task, number).save(path)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerateLiberoOptions:
    monkeypatch.setattr(generation, "_record", record)
    monkeypatch.setattr(generation, "command", lambda *arguments: [])
    return GenerateLiberoOptions(tmp_path / "made", tasks=(1, 7), episodes=2, pictures=2, questions_per_picture=2)


def test_a_data_set_holds_the_successes_in_turns(options: GenerateLiberoOptions) -> None:
    made = generate_libero(options)
    assert validate(options.output).problems == ()
    episodes = EpisodeDataset(options.output / "episodes")
    assert [episodes.instruction(e.start) for e in episodes.episodes] == ["do task 1", "do task 7"] * 2
    assert episodes.embodiment == replace(SPECIFICATIONS["libero"].embodiment(20.0), image_size=(96, 96))
    assert np.array_equal(episodes.point_maps(STEPS), attempt(7, 1).point_maps[0])
    assert np.array_equal(episodes.all_actions[:STEPS], attempt(1, 0).actions)
    assert made["demonstrations"]["failed"] == {"libero_object/7": 1}
    assert made["demonstrations"]["seeds"] == [1_100_000, 1_700_001, 1_100_001, 1_700_002]
    assert made["simulator"]["mujoco"] == "3.2.3"
    assert len(QADataset(options.output / "spatial_qa")) == sum(made["questions"]["spatial"].values()) > 8
    assert len(QADataset(options.output / "general_qa")) == sum(made["questions"]["general"].values()) > 8
    assert json.loads((options.output / "generation.json").read_text()) == json.loads(json.dumps(made))
    assert not options.output.with_name("made.attempts").exists()


def test_a_stopped_run_goes_on_with_its_own_options_only(
    options: GenerateLiberoOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(folder: Path, job: Job, workers: int) -> None:
        attempt(1, 0).save(attempt_path(folder, "libero_object", 1, 0))
        raise KeyboardInterrupt

    monkeypatch.setattr(generation, "_record", stopped)
    with pytest.raises(KeyboardInterrupt):
        generate_libero(options)
    kept = attempt_path(options.output.with_name("made.attempts"), "libero_object", 1, 0)
    written = kept.stat().st_mtime_ns
    with pytest.raises(ValueError, match="holds attempts that were made with other options"):
        generate_libero(replace(options, seed=1))

    def go_on(folder: Path, job: Job, workers: int) -> None:
        record(folder, job, workers)
        assert kept.stat().st_mtime_ns == written

    monkeypatch.setattr(generation, "_record", go_on)
    assert generate_libero(replace(options, episodes=1))["demonstrations"]["episodes"] == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"benchmark": ("libero_90",)}, "benchmark is .'libero_90'.; name one or more of"),
        ({"tasks": (10,)}, "a suite's tasks are 0 to 9"),
        ({"image_size": 98}, "expected a multiple of 4, 32 to 256"),
        ({"episodes": 0}, "episodes is 0, expected at least 1"),
        ({"seed": 100_000}, "expected 0 to 99999"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: GenerateLiberoOptions, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate_libero(replace(options, **wrong))


def test_attempts_count_up_to_the_first_gap(tmp_path: Path) -> None:
    attempt(1, 0).save(attempt_path(tmp_path, "libero_object", 1, 0))
    attempt_path(tmp_path, "libero_object", 1, 1).with_suffix(".failed").touch()
    attempt_path(tmp_path, "libero_object", 1, 3).touch()
    assert attempts(tmp_path, "libero_object", 1) == [(0, True), (1, False)]
    with pytest.raises(ValueError, match="is not a recorded attempt"):
        Attempt.load(attempt_path(tmp_path, "libero_object", 1, 3))


def test_a_job_travels_as_text() -> None:
    assert Job.from_json(JOB.to_json()) == JOB


def test_questions_name_things_as_people_do() -> None:
    assert spoken_name("akita_black_bowl") == "black bowl"
    assert spoken_name("alphabet_soup") == "alphabet soup"
    twice = replace(thing("milk", 0.15, 0.0), name="milk_2")
    state = describe(scene(thing("milk", 0.05, -0.1), twice, thing("cream_cheese", -0.1, -0.1)), cameras())
    assert set(absent_names(state)) == set(THINGS) - {"milk", "cream cheese", "basket"}
    rows = [
        row
        for seed in range(30)
        for row in general_rows(state, "front", np.random.default_rng(seed), absent_names(state))
    ]
    presence = {row.question: row.answer for row in rows if row.category == "presence"}
    assert set(presence.values()) == {"Yes.", "No."}
    assert not {row.category for row in rows} & {"colour", "object"}  # nothing here has one colour
    assert {row.answer for row in rows if row.category == "count" and "milk" in row.question} == {"2"}
    assert not any("milk" in row.question for row in rows if row.category in ("position", "grid"))  # which one?
    spatial = [row for seed in range(30) for row in spatial_rows(state, "front", np.random.default_rng(seed))]
    assert spatial
    assert not any("milk" in row.question for row in spatial)


def test_the_expert_needs_ground_truth() -> None:
    from thinkvla.contract import Observation

    with pytest.raises(ContractError, match="the expert needs ground truth"):
        ExpertPolicy().act([Observation({}, "put the milk in the basket")])


def test_recipes_have_one_budget() -> None:
    full, plain = recipe("libero_small"), recipe("libero_small_r1")
    assert (full.steps, full.batch_size, full.data) == (plain.steps, plain.batch_size, plain.data)
    assert full.method.geometry_adapter
    assert full.method.reasoning_adapter
    assert not plain.method.geometry_adapter
    assert plain.method.qa_data == "none"
    assert full.output != plain.output
