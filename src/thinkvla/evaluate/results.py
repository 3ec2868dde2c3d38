"""What an evaluation found: episodes, success rates with intervals, and everything needed to repeat it.

Written as ``results.json`` in the evaluation's folder. Episodes that ended in an error are no failures of the
policy: they are counted and listed apart, and rates are over the episodes that ran.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from thinkvla.evaluate.intervals import wilson

FORMAT = "thinkvla-evaluation/2"
FILE_NAME = "results.json"
LATER = ("benchmark", "protocol", "simulator")
"""Fields that files of this format made before other benchmarks than tabletop were there do not have."""


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        task: name of its task.
        instruction: what the policy was asked.
        seed: seed of the scene, or number of the initial state where a benchmark has a list.
        success: whether the task was done; None when the episode ended in an error.
        steps: control steps taken.
        seconds: wall time.
        error: why it could not be finished; None for an episode that ran.
    """

    task: str
    instruction: str
    seed: int
    success: bool | None
    steps: int
    seconds: float
    error: str | None

    @property
    def video_name(self) -> str:
        """File name of its video, if one was made, in the evaluation's ``videos`` folder."""
        return f"{self.task}-{self.seed}.mp4"


@dataclass(frozen=True)
class Rate:
    """Successes among the episodes that ran, with Wilson's 95 % interval (low, high in [0, 1])."""

    successes: int
    episodes: int
    errors: int
    low: float
    high: float

    @staticmethod
    def of(episodes: Iterable[Episode]) -> Rate:
        """Count episodes; errors are kept apart."""
        outcomes = [episode.success for episode in episodes]
        ran = [outcome for outcome in outcomes if outcome is not None]
        return Rate(sum(ran), len(ran), len(outcomes) - len(ran), *wilson(sum(ran), len(ran)))

    @property
    def value(self) -> float | None:
        """Success rate in [0, 1]; None when no episode ran."""
        return self.successes / self.episodes if self.episodes else None


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation of one policy on one suite.

    Attributes:
        policy: checkpoint path, or ``expert``.
        fingerprint: SHA-256 of the checkpoint's files; None for the expert.
        suite: name of the suite.
        episodes: every episode asked for, those with errors included.
        options: the options of the run, as plain values.
        versions: software and machine, from ``thinkvla.versions``.
        created: when it was started, ISO 8601, UTC.
        seconds: wall time of the run.
        perturbation: axis of the scenes' perturbation; None for plain scenes.
        level: its level, 1 to 3; 0 for plain scenes.
        benchmark: name of the benchmark.
        protocol: the rules of its episodes, as the benchmark states them; empty for tabletop, whose rules are its own.
        simulator: software of the simulator's process, where that is not this one's.
    """

    policy: str
    fingerprint: str | None
    suite: str
    episodes: tuple[Episode, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    created: str
    seconds: float
    perturbation: str | None = None
    level: int = 0
    benchmark: str = "tabletop"
    protocol: Mapping[str, Any] = field(default_factory=dict)
    simulator: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> Rate:
        """Success over the whole suite."""
        return Rate.of(self.episodes)

    @property
    def tasks(self) -> dict[str, Rate]:
        """Success of each task, in the order the suite has them."""
        names = dict.fromkeys(episode.task for episode in self.episodes)
        return {name: Rate.of(e for e in self.episodes if e.task == name) for name in names}

    def save(self, folder: Path) -> None:
        """Write ``results.json`` into an existing folder."""
        values = {
            "format": FORMAT,
            **{f.name: getattr(self, f.name) for f in fields(self) if f.name != "episodes"},
            "rate": _rate_values(self.total),
            "tasks": {name: _rate_values(rate) for name, rate in self.tasks.items()},
            "episodes": [asdict(episode) for episode in self.episodes],
        }
        (folder / FILE_NAME).write_text(json.dumps(values, indent=2) + "\n", "utf-8")

    @staticmethod
    def load(folder: Path) -> EvaluationResult:
        """Read an evaluation's folder; raises ValueError naming the file when it is not one."""
        file = folder / FILE_NAME
        if not file.is_file():
            raise ValueError(f"{file} does not exist; give the output folder of an evaluation")
        values = json.loads(file.read_text("utf-8"))
        if values.get("format") != FORMAT:
            raise ValueError(
                f"{file}: format is {values.get('format')!r}, this version reads {FORMAT!r}; run the evaluation again"
            )
        names = [f.name for f in fields(EvaluationResult) if f.name in values or f.name not in LATER]
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(f"{file}: keys {missing} are missing; run the evaluation again")
        episodes = tuple(Episode(**episode) for episode in values["episodes"])
        return EvaluationResult(**{**{name: values[name] for name in names}, "episodes": episodes})


def _rate_values(rate: Rate) -> dict[str, Any]:
    return {**asdict(rate), "rate": rate.value}
