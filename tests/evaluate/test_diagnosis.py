from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinkvla.evaluate.diagnosis import Diagnosis, Picture

DIAGNOSIS = Diagnosis(
    kind="attention",
    explanation="What glows is attended to.",
    policies={"plain": "runs/plain/policy"},
    fingerprints={"plain": "feedface"},
    numbers={"plain": {"share on images": 0.5, "3D pooling on target": None}},
    pictures=(Picture("attention-0.png", "“lift it”, step 3"),),
    observations=({"task": "lift", "seed": 1_009_000},),
    options={"suite": "object"},
    versions={"torch": "2"},
    created="2030-01-01T00:00:00+00:00",
)


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    DIAGNOSIS.save(tmp_path)
    assert Diagnosis.load(tmp_path) == DIAGNOSIS


def test_other_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"diagnosis\.json does not exist; give the output folder of 'thinkvla diagn"):
        Diagnosis.load(tmp_path)
    file = tmp_path / "diagnosis.json"
    file.write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="format is 'other'"):
        Diagnosis.load(tmp_path)
    DIAGNOSIS.save(tmp_path)
    values = json.loads(file.read_text())
    del values["numbers"]
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"keys \['numbers'\] are missing"):
        Diagnosis.load(tmp_path)
