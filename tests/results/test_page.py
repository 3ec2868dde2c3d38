from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from thinkvla.cli import run
from thinkvla.results.kept import Kept, KeptEvaluation, KeptPolicy, load_all, load_kept
from thinkvla.results.page import page
from thinkvla.results.published import BENCHMARKS, LIBERO

DOCS = Path(__file__).parents[2] / "docs"
POLICY = KeptPolicy("tabletop_r7", "R7", "0123", 2_600_000, 0, 3200, 117_400, 281_600)
EVALUATION = KeptEvaluation(
    benchmark="tabletop",
    suite="object",
    perturbation=None,
    level=0,
    successes=77,
    episodes=100,
    errors=0,
    tasks={"red_cube_on_blue_plate": (3, 10)},
    options={"episodes": 10, "execute": 2, "perturbation": None, "level": 0},
    versions={"mujoco": "4.0.0"},
    protocol={},
    simulator={},
    created="2030-01-01T00:00:00+00:00",
)


def kept(name: str, method: str, *evaluations: KeptEvaluation, recipe: str = "tabletop", seed: int = 0) -> Kept:
    return Kept(name, replace(POLICY, recipe=recipe, method=method, seed=seed), evaluations)


def counted(successes: int, episodes: int = 100, **changes: object) -> KeptEvaluation:
    return replace(EVALUATION, successes=successes, episodes=episodes, **changes)  # type: ignore[arg-type]


def row(text: str, *cells: str) -> list[str]:
    """Cells of the one line that begins with these."""
    begin = "| " + " | ".join(cells) + " |"
    found = [line for line in text.splitlines() if line.startswith(begin)]
    assert len(found) == 1, f"{begin}: {found}"
    return [cell.strip() for cell in found[0].strip("|").split(" | ")]


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_page_in_the_docs_is_what_the_command_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["results", str(DOCS / "results"), "--output", str(tmp_path / "results.md")]) == 0
    assert (tmp_path / "results.md").read_text("utf-8") == (DOCS / "results.md").read_text("utf-8")
    assert capsys.readouterr().out.strip() == str(tmp_path / "results.md")


def test_kept_files_name_no_place_of_a_machine() -> None:
    assert list((DOCS / "results").glob("*.json"))
    for file in (DOCS / "results").glob("*.json"):
        for place in ("/tmp", "/home", "/root", "/work", "/data"):
            assert place not in file.read_text("utf-8"), file.name


def test_every_row_is_there_without_any_result() -> None:
    text = page([])
    for benchmark in BENCHMARKS:
        part = section(text, benchmark.title)
        for one in benchmark.rows:
            cells = row(part, one.title)
            assert cells[3].startswith(f"none: {benchmark.missing}")
            assert one.obstacle in cells[3]
            assert cells[5] == "–"
            assert cells[6] == "those above" or ("`thinkvla train" in cells[6] and "`thinkvla eval" in cells[6])


def test_seeds_count_together() -> None:
    text = section(
        page([kept("a", "R7", counted(77)), kept("b", "R7", counted(67), seed=1)]), "Tabletop, the embedded world"
    )
    cells = row(text, "object")
    assert cells[3] == "144 of 200 (65.4–77.8 %)"
    assert cells[4] == "R7: 2.6 M parameters, 3200 demonstrations, seed 0 and 1"
    assert cells[6] == (
        "`thinkvla data generate --output data/tabletop --suites object spatial height transparent --episodes 3200 "
        "--questions 3000`, `thinkvla train tabletop_r7`, `thinkvla train tabletop_r7 --seed 1`, "
        "`thinkvla eval runs/tabletop/policy --suite object --episodes 10 --execute 2 --output results/object_r7`"
    )


def test_a_shipped_policy_needs_no_training() -> None:
    shipped = Kept("a", replace(POLICY, recipe="tabletop_r1", method="R1", seed=None), (counted(60),))
    cells = row(section(page([shipped]), "Tabletop, the embedded world"), "object")
    assert cells[4] == "R1: 2.6 M parameters, 3200 demonstrations, seed not recorded"
    assert cells[6].startswith("`thinkvla eval tabletop_r1 --suite object")


def test_methods_are_compared_over_what_both_have() -> None:
    perturbed = {"perturbation": "robot"}
    seven = kept("a", "R7", counted(77), *(counted(30, 50, level=level, **perturbed) for level in (1, 2, 3)))
    one = kept("b", "R1", counted(54), *(counted(10, 50, level=level, **perturbed) for level in (1, 3)))
    text = section(page([seven, one]), "Tabletop, the embedded world")
    assert row(text, "object", "R7")[3:] == ["R1", "54 of 100 (44.3–63.4 %)", "+9.9 to +35.1 points", "above"]
    cells = row(text, "object, robot 1, 3", "R7")
    assert (cells[2][:9], cells[4][:9], cells[6]) == ("60 of 100", "20 of 100", "above")


def test_perturbed_results_stand_alone_where_nothing_compares() -> None:
    made = kept("a", "R7", counted(77), counted(30, 50, perturbation="light", level=2))
    text = section(page([made]), "Tabletop, the embedded world")
    assert row(text, "object, light 2", "R7")[2:] == ["30 of 50 (46.2–72.4 %)", "–", "–", "–", "–"]
    assert "| object | R7 |" not in text


def test_errors_are_said() -> None:
    text = page([kept("a", "R7", counted(77, errors=3))])
    assert "77 of 100 (67.8–84.2 %, 3 more ended in an error)" in text


def libero(parameters: int, successes: Sequence[int | None]) -> str:
    found = [
        counted(number, 500, benchmark=one.suite, suite=one.suite)
        for one, number in zip(LIBERO.rows, successes, strict=False)
        if number is not None
    ]
    return section(page([Kept("x", replace(POLICY, recipe="libero", parameters=parameters), tuple(found))]), "LIBERO")


def test_a_policy_of_the_papers_size_is_held_against_its_figures() -> None:
    text = libero(2_000_000_000, (500, 470, None, 490))
    assert row(text, "spatial")[5] == "not distinguishable"
    assert row(text, "object")[5] == "below"
    assert row(text, "long (libero_10)")[5] == "above"
    assert row(text, "all four")[3].startswith("none")  # a suite is missing
    assert row(libero(2_000_000_000, (500, 500, 494, 480)), "all four")[3].startswith("1974 of 2000")


def test_a_small_policy_and_another_simulator_are_not_comparable() -> None:
    assert row(libero(20_000_000, (500,)), "spatial")[5] == "not comparable: 20.0 M parameters"
    real = page([kept("a", "R7", counted(20, 50, suite="height"), recipe="real_r7")])
    cells = row(section(real, "The paper's real-arm tasks, on tabletop"), "height variation")
    assert cells[5] == "not comparable: a simulated counterpart, not the paper's real arm; 2.6 M parameters"
    assert row(section(real, "Tabletop, the embedded world"), "height")[3].startswith("none")


def test_rows_of_single_tasks() -> None:
    tasks = {"carrot": (20, 24), "eggplant": (24, 24), "spoon": (12, 24), "stack": (0, 0)}
    made = counted(56, 72, benchmark="simpler_widowx", suite="simpler_widowx", tasks=tasks)
    text = page([kept("a", "R7", made, recipe="bridge")])
    here, original = (section(text, f"SimplerEnv, WidowX, {where}") for where in ("on ManiSkill3", "the original"))
    assert row(here, "spoon on towel")[3] == "12 of 24 (31.4–68.6 %)"
    assert row(here, "green block on yellow block")[3].startswith("none")
    assert row(here, "all four")[3].startswith("none")
    assert row(original, "spoon on towel")[3].startswith("none")


def test_files_round_trip(tmp_path: Path) -> None:
    one = kept("a", "R7", EVALUATION, counted(3, perturbation="camera", level=2))
    (tmp_path / "a.json").write_text(one.to_json(), "utf-8")
    assert load_all(tmp_path) == (one,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("{", "is no JSON"),
        ('{"format": "other"}', "format is 'other', expected 'thinkvla-kept-results/1'"),
        (kept("a", "R7", EVALUATION).to_json().replace('"suite"', '"suit"'), r"evaluation 0: keys \['suit', 'suite'\]"),
        (kept("a", "R7", EVALUATION).to_json().replace('"seed"', '"seeds"'), r"policy: keys \['seed', 'seeds'\]"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: str, words: str) -> None:
    (tmp_path / "a.json").write_text(change, "utf-8")
    with pytest.raises(ValueError, match=words):
        load_kept(tmp_path / "a.json")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing does not exist"):
        load_all(tmp_path / "nothing")


def test_published_rows_are_complete() -> None:
    for benchmark in BENCHMARKS:
        figures = [one for one in benchmark.rows if one.best is not None]
        assert bool(figures) == (benchmark.best is not None)
        assert len({(one.suite, one.task) for one in benchmark.rows}) == len(benchmark.rows)
