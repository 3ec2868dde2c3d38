"""``thinkvla bench``: every stage is measured, described and written once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from thinkvla.bench import BenchOptions, _percentiles, bench, bench_table


def test_every_stage_is_measured(tmp_path: Path) -> None:
    options = BenchOptions("tabletop_r1", tmp_path / "new" / "bench.json", rounds=3, warm_up=2, batch=2)
    result = bench(options)
    assert options.output is not None
    assert json.loads(options.output.read_text()) == result
    times = result["milliseconds"]
    assert list(times) == ["preprocessing", "network", "both", "transport"]
    for stage in times.values():
        assert 0 < stage["p50"] <= stage["p95"] <= stage["p99"]
    assert (result["batch"], result["views"], result["device"], result["speed"]) == (2, 2, "cpu", "eager")
    console = Console(width=120, record=True)
    console.print(bench_table(result))
    assert "transport" in console.export_text()


def test_percentiles_are_numpys() -> None:
    seconds = np.arange(101) / 1000
    assert _percentiles(seconds) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    kept = tmp_path / "bench.json"
    kept.write_text("kept")
    with pytest.raises(ValueError, match=r"bench.json exists already"):
        bench(BenchOptions("nowhere", kept))
    assert kept.read_text() == "kept"


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="rounds is 0; expected at least 1"):
        BenchOptions("tabletop_r1", rounds=0)
    with pytest.raises(ValueError, match="'nowhere' is no folder"):
        bench(BenchOptions("nowhere"))
