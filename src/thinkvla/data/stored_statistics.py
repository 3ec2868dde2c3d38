"""Statistics of data sets of others, measured once and kept in the cache: nothing is written into their ``meta/``."""

from __future__ import annotations

import json
from pathlib import Path

from thinkvla.contract import Actions
from thinkvla.data.recording import Recording
from thinkvla.data.statistics import FeatureStatistics, VectorStatistics, check_fresh, source_fingerprint
from thinkvla.files import new_file


def statistics_file(recording: Recording, cache: Path) -> Path:
    """Where the statistics of a data set stand, read by its specification."""
    return cache / f"statistics-{recording.spec_key}.json"


def measured_statistics(recording: Recording, actions: Actions, cache: Path) -> dict[str, FeatureStatistics]:
    """The statistics of ``action``, (N, D) float32, measured and written unless they are there already.

    Raises:
        ValueError: those there were measured on other actions, or the file is broken.
    """
    path = statistics_file(recording, cache)
    if not path.is_file():
        measure_statistics(recording, actions, cache)
    repair = f"run 'thinkvla data refresh {recording.root} --embodiment NAME'"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        source, values = str(stored["actions"]), stored["statistics"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error!r}); {repair}") from error
    check_fresh(source, actions, str(path))
    return {"action": FeatureStatistics.from_dict(values)}


def measure_statistics(recording: Recording, actions: Actions, cache: Path) -> None:
    """Measure the statistics of all actions, (N, D) float32, every value counted, and write them into ``cache``."""
    gatherer = VectorStatistics()
    gatherer.add(actions)
    content = {
        "data_set": str(recording.root),
        "embodiment": recording.embodiment.name,
        "actions": source_fingerprint(actions),
        "statistics": gatherer.result().to_dict(),
    }
    text = json.dumps(content, indent=2) + "\n"
    with new_file(statistics_file(recording, cache), len(text)) as partial:
        partial.write_text(text, encoding="utf-8")
