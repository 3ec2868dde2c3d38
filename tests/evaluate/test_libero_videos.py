"""Videos of LIBERO's rollouts, from a stand-in for the simulator process."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from thinkvla.contract import Actions
from thinkvla.evaluate import libero
from thinkvla.evaluate.benchmarks import find_benchmark
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.results import Episode

SIMULATOR = """
import json, sys
import numpy as np
job = json.load(open(sys.argv[1]))
assert job["params"] == {
    "suite": "libero_goal", "first_seed": 10, "perturbation": None, "level": 0,
    "cameras": ["front", "wrist"], "image_size": [256, 256], "observe_every": 2,
}
print("[info] what simulators say")
for episode in job["episodes"]:
    assert episode["episode"] == 3
    pictures = np.full((len(episode["actions"]), 256, 256, 3), 100, np.uint8)
    np.savez(episode["frames"], success=True, front=pictures, wrist=pictures)
    print("replayed", episode["frames"], flush=True)
    END
"""


def film(monkeypatch: pytest.MonkeyPatch, folder: Path, end: str = "", success: bool = True) -> Path:
    (folder / "simulator.py").write_text(SIMULATOR.replace("END", end), "utf-8")
    monkeypatch.setattr(
        libero, "command", lambda name, module, *rest: [sys.executable, str(folder / "simulator.py"), *rest]
    )
    monkeypatch.setattr(libero, "variables", lambda name: {})
    benchmark = find_benchmark("libero_goal")
    asked = benchmark.complete(EvaluateOptions("expert", folder, "libero_goal", episodes=20, first_seed=10))
    rollouts: dict[Episode, Actions] = {
        Episode(task, "do it", 13, success, steps, 1.0, None): np.zeros((steps, 7), np.float32)
        for task, steps in (("open", 4), ("push", 6))
    }
    benchmark.film(asked, rollouts, folder / "videos")
    return folder / "videos"


def test_each_rollout_becomes_a_video(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lengths = {}
    for file in film(monkeypatch, tmp_path).iterdir():
        with av.open(str(file)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        lengths[file.name] = len(pictures)
        assert pictures[0].shape == (256, 520, 3)
        assert abs(int(pictures[0][100, 100, 0]) - 100) < 4
        assert pictures[0][100, 260, 0] < 40, "the gap between the views"
    assert sorted(lengths.values()) == [4, 6]


def test_a_simulator_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the simulator that films ended: ValueError: no more light"):
        film(monkeypatch, tmp_path, end="raise ValueError('no more light')")


def test_another_end_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="seed 13 ended with success=True, but the evaluation recorded False"):
        film(monkeypatch, tmp_path, success=False)
