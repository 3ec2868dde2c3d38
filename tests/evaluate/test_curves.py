from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkvla.evaluate.curves import draw_curves, read_metrics, smooth


def write_metrics(run: Path, steps: int = 40) -> None:
    run.mkdir(exist_ok=True)
    rows = [
        {
            "step": step,
            "time": 0.1 * step,
            "loss": math.exp(-step / 10),
            "loss/action": 0.5 * math.exp(-step / 10),
            "learning_rate": 1e-4,
            "note": "ignored",
        }
        for step in range(1, steps + 1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_reads_every_number_but_step_and_time(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    metrics = read_metrics(tmp_path)
    assert list(metrics) == ["loss", "loss/action", "learning_rate"]
    steps, values = metrics["loss/action"]
    assert steps[:3] == [1, 2, 3]
    assert values[0] == pytest.approx(0.5 * math.exp(-0.1))


def test_metrics_may_be_logged_at_some_steps_only(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "loss": 1, "loss/language": 3}\n')
    assert read_metrics(tmp_path)["loss/language"] == ([2.0], [3.0])


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "holds no metrics"), ('{"step": 1, "loss": 1}\nnot json\n', "line 2"), ('{"loss": 1}\n', "line 1")],
)
def test_broken_metrics_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_metrics(tmp_path)


def test_missing_metrics_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"metrics\.jsonl does not exist"):
        read_metrics(tmp_path)


@settings(deadline=None)  # machines that do other things at once
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=50), st.floats(1, 20))
def test_smoothing_is_a_weighted_mean_of_the_past(values: list[float], span: float) -> None:
    keep = 1 - 1 / span
    found = smooth(np.array(values), span)
    for end in range(len(values)):
        weights = [keep ** (end - i) for i in range(end + 1)]
        expected = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert found[end] == pytest.approx(expected, abs=1e-9)


def test_drawings_take_the_pages_colours(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    curves = draw_curves([read_metrics(tmp_path)], [0])
    assert [curve.title for curve in curves] == ["Total loss", "Action loss", "Learning rate"]
    assert curves[2].last[0] == pytest.approx(1e-4)
    for curve in curves:
        root = ElementTree.fromstring(curve.svg)
        assert root.attrib["aria-label"] == f"{curve.title} over training steps"
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        assert "var(--series-1)" in curve.svg
        assert "#0" not in curve.svg.replace("#000000", "").split("<defs>")[0]


def test_same_metrics_give_the_same_drawing(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    metrics = read_metrics(tmp_path)
    assert draw_curves([metrics], [0]) == draw_curves([metrics], [0])


def test_runs_share_a_drawing_where_they_logged_the_same() -> None:
    runs = [
        {"loss": ([1.0, 2.0], [4.0, 3.0]), "anchor_similarity": ([1.0, 2.0], [0.1, 0.2])},
        {"loss": ([1.0, 3.0], [2.0, 1.0]), "held_out/action": ([3.0], [0.5])},
    ]
    loss, held_out, similarity = draw_curves(runs, [0, 3])
    assert loss.last == (3.0, 1.0)
    assert "var(--series-1)" in loss.svg
    assert "var(--series-4)" in loss.svg
    assert held_out.last == (None, 0.5)
    assert "var(--series-4)" in held_out.svg, "a run keeps its colour, and a single value is seen"
    assert "var(--series-1)" not in held_out.svg
    assert (similarity.name, similarity.last) == ("anchor_similarity", (0.2, None))
