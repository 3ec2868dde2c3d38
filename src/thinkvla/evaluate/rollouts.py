"""Which videos a report shows: of each suite and policy a success and a failure, where they were filmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thinkvla.evaluate.comparison import Column
from thinkvla.evaluate.results import Episode, EvaluationResult
from thinkvla.evaluate.run import VIDEOS
from thinkvla.evaluate.samples import data_url


@dataclass(frozen=True)
class Rollout:
    """One video: its data URL, whose it is, and the episode it shows; ``scene`` says how its scene was perturbed."""

    url: str
    policy: str
    scene: str
    episode: Episode


def choose_rollouts(suite: str, columns: Sequence[Column]) -> list[Rollout]:
    """Of each policy on a suite a success and a failure, where filmed; from perturbed scenes if from no plain ones."""
    chosen = []
    for column in columns:
        evaluations = sorted((e for e in column.evaluations if e.result.suite == suite), key=lambda e: e.result.level)
        for outcome in (True, False):
            filmed = (
                Rollout(data_url("video/mp4", file.read_bytes()), column.name, _scene(one.result), episode)
                for one in evaluations
                for episode in one.result.episodes
                if episode.success is outcome and (file := one.folder / VIDEOS / episode.video_name).is_file()
            )
            if (rollout := next(filmed, None)) is not None:
                chosen.append(rollout)
    return chosen


def _scene(result: EvaluationResult) -> str:
    return "" if result.perturbation is None else f"{result.perturbation} {result.level}"
