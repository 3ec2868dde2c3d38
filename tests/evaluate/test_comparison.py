from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from thinkvla.evaluate.comparison import Evaluation, compare, seed_ranges
from thinkvla.evaluate.intervals import wilson
from thinkvla.evaluate.results import Episode, EvaluationResult
from thinkvla.evaluate.success_chart import draw_success
from thinkvla.tabletop.seeds import seeds

FIRST = seeds("test").start


def evaluation(
    policy: str,
    outcomes: str,
    suite: str = "object",
    perturbation: str | None = None,
    level: int = 0,
    fingerprint: str | None = "feedface",
    execute: int = 8,
    first: int = FIRST,
) -> Evaluation:
    """Outcomes of consecutive seeds, two tasks in turn: + success, - failure, e error."""
    episodes = tuple(
        Episode(f"task_{k % 2}", f"do {k % 2}", first + k // 2, {"+": True, "-": False, "e": None}[o], 9, 1.0, None)
        for k, o in enumerate(outcomes)
    )
    values = {"execute": execute}
    result = EvaluationResult(policy, fingerprint, suite, episodes, values, {}, "", 1.0, perturbation, level)
    return Evaluation(result, Path("nowhere"))


def test_rates_by_suite_task_and_level() -> None:
    found = compare(
        [
            evaluation("expert", "++++"),
            evaluation("runs/full/policy", "++-+"),
            evaluation("runs/full/policy", "+-", suite="spatial"),
            evaluation("runs/full/policy", "+-e-", perturbation="camera", level=1),
            evaluation("runs/full/policy", "--", perturbation="camera", level=3),
            evaluation("runs/full/policy", "++", suite="spatial", perturbation="camera", level=3),
        ],
        names={},
    )
    assert [column.name for column in found.columns] == ["full", "expert"], "the expert stands last"
    assert not found.alike
    suite, other = found.suites
    full, expert = suite.total.rates
    assert full is not None
    assert expert is not None
    assert (full.successes, full.episodes, expert.successes) == (3, 4, 4)
    assert (full.low, full.high) == wilson(3, 4)
    assert other.total.rates[1] is None
    assert [(row.name, row.rates[0].successes) for row in suite.tasks if row.rates[0]] == [("do 0", 1), ("do 1", 2)]
    assert found.total.rates[0] is not None
    assert (found.total.rates[0].successes, found.total.rates[0].episodes) == (4, 6), "plain scenes only"
    rows = {row.name: row.rates[0] for row in found.perturbations["camera"]}
    counts = {name: (rate.successes, rate.episodes, rate.errors) for name, rate in rows.items() if rate}
    assert counts == {"camera 1": (1, 3, 1), "camera 3": (2, 4, 0), "camera, all levels": (3, 7, 1)}
    assert [row.name for row in suite.perturbations] == ["camera 1", "camera 3"]


def test_columns_tell_policies_apart() -> None:
    found = compare(
        [
            evaluation("runs/full/policy", "++"),
            evaluation("runs/full/policy", "+-", fingerprint="cafecafe"),
            evaluation("runs/plain/policy", "--", execute=2),
            evaluation("runs/plain/policy", "--", execute=8),
        ],
        names={"runs/plain/policy": "plain (R1)"},
    )
    names = ["full feedfa", "full cafeca", "plain (R1), 2 of a chunk", "plain (R1), 8 of a chunk"]
    assert [column.name for column in found.columns] == names
    assert found.alike


def test_an_episode_counts_once() -> None:
    found = compare([evaluation("a", "+-"), evaluation("a", "+-+-"), evaluation("a", "++", first=FIRST + 9)], names={})
    rate = found.suites[0].total.rates[0]
    assert rate is not None
    assert (rate.successes, rate.episodes) == (4, 6)


def test_charts_show_each_policy_with_its_interval() -> None:
    found = compare(
        [
            evaluation("a", "+-+-"),
            evaluation("a", "+---", perturbation="camera", level=2),
            evaluation("b", "++++"),
            evaluation("b", "eeee", perturbation="light", level=1),
            evaluation("b", "++", suite="spatial"),
        ],
        names={},
    )
    camera, light = draw_success(found)
    assert (camera.title, light.title) == ("camera", "light")
    for chart in (camera, light):
        root = ElementTree.fromstring(chart.svg)
        assert "level by level" not in root.attrib["aria-label"]
        assert chart.title in root.attrib["aria-label"]
    assert "var(--series-1)" in camera.svg
    assert "level 2" in camera.svg
    assert "var(--series-2)" in light.svg, "plain scenes are there though all perturbed ones ended in errors"


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([3], "3"), ([5, 3, 4, 3], "3–5"), ([1, 2, 9], "1–2, 9"), ([1_000_000, 1_000_001], "1 000 000–1 000 001")],
)
def test_seed_ranges(numbers: list[int], words: str) -> None:
    assert seed_ranges(numbers).replace("\u202f", " ") == words
