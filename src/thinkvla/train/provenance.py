"""What a run is trained on, as its folder records it and a model card shows it.

Each data set with its commit on the Hub, a fingerprint (of actions and rows, not of images) and the licence it states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thinkvla.data.hub import find_source, stated_licence
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.train.config import TrainConfig
from thinkvla.train.question_stream import QuestionStream


def describe_data(
    config: TrainConfig, episodes: Sequence[EpisodeDataset], questions: QuestionStream | None
) -> list[dict[str, Any]]:
    """What a run is trained on, JSON-ready: one entry a data set, demonstrations first."""
    weights = config.data.weights or [None] * len(episodes)
    robot = [
        {
            "kind": "demonstrations",
            "source": address,
            "path": str(one.path.absolute()),
            "revision": one.revision,
            "fingerprint": one.fingerprint,
            "licence": stated_licence(find_source(one.path).card),
            "embodiment": one.embodiment.name,
            "episodes": len(one.episodes),
            "frames": len(one),
            "weight": weight,
        }
        for address, one, weight in zip(config.data.episodes, episodes, weights, strict=True)
    ]
    asked = [
        {
            "kind": "spatial questions" if one.spatial else "general questions",
            "source": one.source.address,
            "path": str(one.source.path.absolute()),
            "revision": one.source.revision,
            "fingerprint": one.fingerprint(),
            "licence": stated_licence(one.source.card),
            "rows": len(one),
            "left_out": one.left_out,
            "weight": weight,
        }
        for mixture in (questions.mixtures if questions is not None else ())
        for one, weight in zip(mixture.sets, mixture.weights, strict=True)
    ]
    return [*robot, *asked]
