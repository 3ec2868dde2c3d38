from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from thinkvla.deploy import load_policy
from thinkvla.diagnose.common import DiagnoseOptions, Examined
from thinkvla.diagnose.moments import Moment
from thinkvla.diagnose.reasoning_gap import _similarities, diagnose_gap, similarities
from thinkvla.evaluate.diagnosis import Diagnosis
from thinkvla.method.reasoning import anchor_similarity
from thinkvla.preprocessor import RobotSample


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_similarities_by_hand() -> None:
    rng = np.random.default_rng(0)
    teacher, student, adapted = rng.normal(size=(3, 4, 2, 6))  # 4 observations, 2 anchor tokens
    found = similarities(*(torch.from_numpy(values) for values in (teacher, student, adapted)))
    for i, row in enumerate(found):
        own = [cosine(teacher[i, r], student[i, r]) for r in range(2)]
        others = [cosine(teacher[i, r], student[j, r]) for r in range(2) for j in range(4) if j != i]
        assert row["similarity"] == pytest.approx(np.mean(own))
        assert row["adapted"] == pytest.approx(np.mean([cosine(teacher[i, r], adapted[i, r]) for r in range(2)]))
        assert row["of other observations"] == pytest.approx(np.mean(others))


def test_similarity_is_what_training_logs(thinking: Path, seen: list[Moment]) -> None:
    policy = load_policy(thinking, "cpu")
    found = _similarities(Examined("thinking", "", "", policy), seen)
    blank = np.zeros((8, 7), np.float32)
    for moment, row in zip(seen, found, strict=True):
        sample = RobotSample(moment.observation, blank, np.ones(8, bool), None)
        with torch.no_grad():
            output = policy.policy.think(policy.preprocessor.robot_batch([sample]).tokens)
        assert output.teacher_BRD is not None
        assert output.anchor_BRD is not None
        logged = anchor_similarity(output.teacher_BRD, output.anchor_BRD).item()
        assert row["similarity"] == pytest.approx(logged, abs=1e-5)


def test_command_writes_numbers(thinking: Path, tmp_path: Path) -> None:
    output = tmp_path / "gap"
    result = diagnose_gap(DiagnoseOptions((str(thinking),), output, observations=3))
    assert Diagnosis.load(output) == result
    numbers = result.numbers["thinking (R7)"]
    each = [row["numbers"]["thinking (R7)"]["similarity"] for row in result.observations]
    assert numbers["similarity"] == pytest.approx(np.mean(each))
    assert numbers["standard deviation"] == pytest.approx(np.std(each, ddof=1))


def test_mistakes_are_named(thinking: Path, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no reasoning adapter and no anchor"):
        diagnose_gap(DiagnoseOptions((str(plain),), tmp_path / "out"))
    with pytest.raises(ValueError, match="needs at least 2"):
        diagnose_gap(DiagnoseOptions((str(thinking),), tmp_path / "out", observations=1))
