"""Every command that README and docs show is run, small; every Python block too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from thinkvla.cli import run
from thinkvla.environments.process import problem
from thinkvla.environments.table import find_environment
from thinkvla.evaluate.benchmarks import find_benchmark

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]

SOUP = "pick_up_the_alphabet_soup_and_place_it_in_the_basket"
# What makes a command small enough for a test, by how it begins (the first counts); all else is as shown.
SMALL = {
    "eval expert --benchmark libero_object": "--episodes 1 --workers 1 --tasks " + SOUP,
    "diagnose": "--observations 2",
    "eval runs/tabletop/policy --qa": "--questions 1 --limit 20",
    "eval tabletop_r7 --qa": "--questions 1 --limit 20",
    "data generate --output data/real_arm": "--suites height --tasks red_cube_on_blue_plate --per-task 2 --questions 2",
    "data generate": "--episodes 2 --questions 2 --workers 1",
    "run": "--limits.seconds 1 --limits.late-steps 10000 --limits.max-age-s 60 --limits.answer-s 60 "
    "--limits.watchdog-s 60",
    "train": "--steps 2 --batch-size 2 --question-batch-size 2 --optimizer.warmup-steps 1 --data.workers 0",
    "grid": "--suites object --perturbations none camera --levels 1 --episodes 1 --videos 0",
    "bench": "--rounds 3 --warm-up 1",
    "eval": "--episodes 1 --tasks red_cube_on_blue_plate --videos 0 --workers 1",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> Iterator[str]:
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.splitlines():
                # A server does not end by itself; tests/serve/test_documented_sessions.py talks to it.
                if line.startswith("thinkvla ") and not line.startswith("thinkvla serve"):
                    yield line.split("  #")[0].strip()


def environment(command: str) -> str | None:
    """The simulator's environment that a command needs."""
    if (named := re.search(r"thinkvla env \w+ (\w+)", command)) is not None:
        return named[1]
    benchmark = re.search(r"--benchmark (\w+)", command)
    return None if benchmark is None else find_benchmark(benchmark[1]).environment


@pytest.mark.slow
def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in dict.fromkeys(commands()):
        needed = environment(command)
        if needed is not None and problem(find_environment(needed)) is not None:
            continue  # tests/simulators says what is not installed
        arguments = shlex.split(command)[1:]
        beginning = next((words for words in SMALL if command.startswith(f"thinkvla {words}")), None)
        if beginning is not None and "--help" not in arguments:
            arguments += shlex.split(SMALL[beginning])
        if "--help" in arguments:
            with pytest.raises(SystemExit) as ended:
                run(arguments)
            assert ended.value.code == 0, command
        else:
            assert run(arguments) == 0, command
    rng = np.random.default_rng(0)
    views = {name: rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for name in ("front", "wrist")}
    for block in blocks(ROOT / "README.md", "python"):
        names = dict(views)
        exec(block, names)
        assert names["chunk"].actions.shape == (8, 7)  # type: ignore[attr-defined]


def test_pages_link_to_files_that_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_shows_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text
