"""What SimplerEnv needs of its options, before any simulator is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thinkvla.data.embodiments import find_spec
from thinkvla.evaluate.benchmarks import find_benchmark
from thinkvla.evaluate.options import EvaluateOptions

ASKED = EvaluateOptions("expert", Path("new"), benchmark="simpler_widowx", assets=Path("files.tgz"))


def test_entry_has_assets_and_the_policys_view() -> None:
    benchmark = find_benchmark("simpler_widowx")
    asked = benchmark.complete(ASKED)
    assert (asked.episodes, asked.first_seed, asked.suite) == (24, 0, "simpler_widowx")
    params = benchmark.entry(asked, find_spec("bridge").embodiment(5.0))["params"]
    assert params == {
        "tasks": [],
        "first_seed": 0,
        "assets": str(Path("files.tgz").absolute()),
        "cameras": ["front"],
        "image_size": [224, 224],
    }
    longer = benchmark.complete(replace(ASKED, max_steps=200))
    assert benchmark.entry(longer, find_spec("bridge").embodiment(5.0))["params"]["max_steps"] == 200


def test_original_needs_no_assets() -> None:
    original = find_benchmark("simpler_widowx_original")
    asked = original.complete(replace(ASKED, benchmark=original.name, assets=None))
    assert "assets" not in original.entry(asked, find_spec("bridge").embodiment(5.0))["params"]
    with pytest.raises(ValueError, match="has no scripted expert"):
        original.expert_policy(asked)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"assets": None}, "needs SimplerEnv's meshes.*--assets"),
        ({"max_steps": 0}, "max_steps is 0; it must be at least 1"),
        ({"first_seed": 20, "episodes": 5}, "has episodes 0 to 23"),
        ({"suite": "object"}, "has no suite"),
    ],
)
def test_wrong_options_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_benchmark("simpler_widowx").complete(replace(ASKED, **change))


@pytest.mark.parametrize(("option", "value"), [("assets", Path("x")), ("max_steps", 9)])
def test_other_benchmarks_have_neither(option: str, value: Any) -> None:
    change: dict[str, Any] = {option: value}
    options = replace(EvaluateOptions("expert", Path("new")), **change)
    with pytest.raises(ValueError, match=f"'tabletop' has no {option}"):
        find_benchmark("tabletop").complete(options)
