"""What LIBERO's perturbations do to words, pictures and problem files: nothing of it needs the simulator."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from thinkvla.perturbation import AXES, LEVELS, Perturbation
from thinkvla.simulators.libero.perturbations_language import reword
from thinkvla.simulators.libero.perturbations_layout import THINGS, added_things
from thinkvla.simulators.libero.perturbations_noise import FAULTS, NoisySensor
from thinkvla.simulators.libero.problem import Problem, read_problem
from thinkvla.tabletop.perturbations import AXES as TABLETOP_AXES

# One instruction of each form in the four suites, and the phrases that must stay.
INSTRUCTIONS = {
    "pick up the alphabet soup and place it in the basket": ("the alphabet soup", "in the basket"),
    "pick up the black bowl between the plate and the ramekin and place it on the plate": (
        "the black bowl between the plate and the ramekin",
        "on the plate",
    ),
    "pick up the book and place it in the back compartment of the caddy": (
        "the book",
        "in the back compartment of the caddy",
    ),
    "open the middle drawer of the cabinet": ("the middle drawer of the cabinet",),
    "open the top drawer and put the bowl inside": ("the top drawer", "the bowl"),
    "push the plate to the front of the stove": ("the plate", "the front of the stove"),
    "put the bowl on top of the cabinet": ("the bowl", "on top of the cabinet"),
    "put the cream cheese in the bowl": ("the cream cheese", "in the bowl"),
    "turn on the stove": ("the stove",),
    "turn on the stove and put the moka pot on it": ("the stove", "the moka pot"),
    "put the black bowl in the bottom drawer of the cabinet and close it": (
        "the black bowl",
        "in the bottom drawer of the cabinet",
    ),
    "put both moka pots on the stove": ("both moka pots", "on the stove"),
    "put both the alphabet soup and the cream cheese box in the basket": (
        "both the alphabet soup and the cream cheese box",
        "in the basket",
    ),
    "put the white mug on the left plate and put the yellow and white mug on the right plate": (
        "the white mug on the left plate",
        "the yellow and white mug",
        "on the right plate",
    ),
    "put the white mug on the plate and put the chocolate pudding to the right of the plate": (
        "the white mug on the plate",
        "the chocolate pudding",
        "to the right of the plate",
    ),
}
NAMES = {word for category in THINGS for word in category.split("_")} - {"and", "white", "red", "black"}
NAMES |= {"plate", "bowl", "drawer", "cabinet", "stove", "caddy", "basket", "microwave", "bottle", "left", "right"}

PROBLEM = """(define (problem LIBERO_Tabletop_Manipulation)
  (:domain robosuite)
  (:language Put the bowl on the plate)
    (:regions
      (bowl_region (:target main_table) (:ranges ((-0.1 -0.01 -0.08 0.01))) (:yaw_rotation ((3.14 3.14))))
      (front_region (:target main_table) (:ranges ((0.2 0.1 0.3 0.2))))
      (top_region (:target cabinet_1))
    )
  (:fixtures
    main_table - table
    cabinet_1 - wooden_cabinet
  )
  (:objects
    bowl_1 bowl_2 - akita_black_bowl
    plate_1 - plate
    milk_1 - milk
  )
  (:obj_of_interest bowl_1 plate_1)
  (:init
    (On bowl_1 plate_1)
    (On bowl_2 cabinet_1_top_region)
    (On plate_1 main_table_bowl_region)
    (On milk_1 main_table_front_region)
  )
  (:goal (And (On bowl_1 plate_1) (On plate_1 main_table_front_region)))
)
"""


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    file = tmp_path / "problem.bddl"
    file.write_text(PROBLEM, "utf-8")
    return read_problem(file)


def test_all_benchmarks_share_the_names_of_the_axes() -> None:
    assert tuple(TABLETOP_AXES) == AXES


def test_options_mean_a_perturbation_or_none() -> None:
    assert Perturbation.of("light", 2) == Perturbation("light", 2)
    assert Perturbation.of(None, 0) is None
    with pytest.raises(ValueError, match=r"level is 2 but no perturbation is given"):
        Perturbation.of(None, 2)
    with pytest.raises(ValueError, match=r"unknown perturbation 'camra': did you mean 'camera'\?"):
        Perturbation.of("camra", 1)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_other_words_keep_what_is_named_and_name_nothing_else(instruction: str, level: int) -> None:
    told = {reword(instruction, np.random.default_rng(seed), level) for seed in range(12)}
    assert len(told) > 2
    for sentence in told:
        assert sentence != instruction
        if not instruction.startswith("put the white mug"):  # two sentences in one: other words may stand between
            for phrase in INSTRUCTIONS[instruction]:
                assert phrase in sentence or all(part in sentence for part in re.split(r"^(?:in|on) ", phrase))
        else:
            assert all(noun in sentence for noun in re.findall(r"the [a-z ]*?(?:mug|plate|pudding)", instruction))
        assert set(sentence.split()) & NAMES <= set(instruction.split())
        assert "{" not in sentence
        assert sentence == " ".join(sentence.split())


def test_levels_of_wording_differ_in_kind() -> None:
    for instruction in INSTRUCTIONS:
        for seed in range(6):
            light, middle, long = (reword(instruction, np.random.default_rng(seed), level) for level in LEVELS)
            assert len(light.split()) <= len(instruction.split()) + 6
            assert not middle.startswith(("please", "put", "place", "set", "open", "turn", "pick", "switch"))
            assert len(long.split()) >= len(instruction.split()) + 15


def test_an_instruction_of_another_form_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'dance' has no form that perturbations_language\.py knows; add it there"):
        reword("dance", np.random.default_rng(0), 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sensor_is_a_function_of_seed_camera_and_frame_and_worse_at_each_level(fault: str) -> None:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    before = picture.copy()
    strengths = []
    for level in LEVELS:
        seen = NoisySensor(fault, level, 5).expose(picture, 4, 0)
        assert np.array_equal(seen, NoisySensor(fault, level, 5).expose(picture, 4, 0))
        assert seen.shape == picture.shape
        assert seen.dtype == np.uint8
        strengths.append(np.abs(seen.astype(float) - picture).mean())
        later = NoisySensor(fault, level, 5).expose(picture, 5, 0)
        assert np.array_equal(seen, later) == (fault != "grain"), "only grain is new in each frame"
        if fault != "defocus":
            assert not np.array_equal(seen, NoisySensor(fault, level, 5).expose(picture, 4, 1)), "cameras differ"
            assert not np.array_equal(seen, NoisySensor(fault, level, 6).expose(picture, 4, 0)), "seeds differ"
    assert 0 < strengths[0] * 1.25 < strengths[1]
    assert strengths[1] * 1.25 < strengths[2]
    assert np.array_equal(picture, before)


def test_faults_have_the_strength_they_name() -> None:
    grey = np.full((128, 128, 3), 128, np.uint8)
    assert NoisySensor("grain", 2, 0).expose(grey, 0, 0).std() == pytest.approx(0.08 * 255, rel=0.05)
    fog = NoisySensor("fog", 2, 0).expose(grey, 0, 0).astype(float)
    assert ((fog - 128) / (225 - 128)).mean() == pytest.approx(0.45, abs=0.1)
    dot = np.zeros((129, 129, 3), np.uint8)
    dot[64, 64] = 255
    line = np.argwhere(NoisySensor("motion", 3, 1).expose(dot, 0, 0)[..., 0])
    assert np.linalg.norm(line.max(axis=0) - line.min(axis=0)) == pytest.approx(0.08 * 129, abs=2)


def test_levels_of_an_episode_share_their_fault() -> None:
    sensors = [NoisySensor.draw(np.random.default_rng(9), level) for level in LEVELS]
    assert len({(sensor.fault, sensor.seed) for sensor in sensors}) == 1
    assert {NoisySensor.draw(np.random.default_rng(seed), 1).fault for seed in range(40)} == set(FAULTS)


def test_a_problem_file_is_read(problem: Problem) -> None:
    assert problem.workspace == "main_table"
    assert problem.fixtures == ("cabinet_1",)
    assert problem.objects == {
        "bowl_1": "akita_black_bowl",
        "bowl_2": "akita_black_bowl",
        "plate_1": "plate",
        "milk_1": "milk",
    }
    assert problem.regions["main_table_bowl_region"] == (-0.1, -0.01, -0.08, 0.01)
    assert set(problem.regions) == {"main_table_bowl_region", "main_table_front_region"}
    assert problem.supports() == {"bowl_1": "plate_1", "bowl_2": "", "plate_1": "main_table", "milk_1": "main_table"}
    assert problem.goal == (("On", "bowl_1", "plate_1"), ("On", "plate_1", "main_table_front_region"))


def test_added_things_come_last_in_every_section_and_change_nothing_else(problem: Problem, tmp_path: Path) -> None:
    text, names = problem.add(["ketchup", "popcorn"])
    assert names == ("ketchup_1", "popcorn_1")
    file = tmp_path / "more.bddl"
    file.write_text(text, "utf-8")
    more = read_problem(file)
    assert list(more.objects)[:4] == list(problem.objects)
    assert list(more.objects)[4:] == ["ketchup_1", "popcorn_1"]
    assert more.init[:4] == problem.init
    assert more.supports()["popcorn_1"] == "main_table"
    assert more.goal == problem.goal
    assert more.fixtures == problem.fixtures
    assert {name: more.regions[name] for name in problem.regions} == problem.regions
    with pytest.raises(ValueError, match=r"categories \['milk'\] would be in the problem twice"):
        problem.add(["milk"])


def test_added_things_are_not_what_the_instruction_names(problem: Problem) -> None:
    for seed in range(20):
        chosen = [
            added_things(problem, "put the tomato sauce on the plate", np.random.default_rng(seed), level)
            for level in LEVELS
        ]
        assert [len(things) for things in chosen] == [1, 2, 3]
        assert chosen[2][:2] == chosen[1]
        assert chosen[1][:1] == chosen[0]
        assert not {"milk", "tomato_sauce", "bbq_sauce"} & set(chosen[2])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("(:goal", "(:gaol", r"sections \[':goal'\] are missing; give a problem file of LIBERO"),
        ("main_table - table", "main_table - shelf", "hold 0 tables or floors; expected one"),
    ],
)
def test_a_file_that_is_no_problem_is_an_error(old: str, new: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.bddl"
    file.write_text(PROBLEM.replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=rf"wrong\.bddl: .*{words}"):
        read_problem(file)
