"""What evaluation needs to know of a benchmark before and after its simulators run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from vla_eval.registry import resolve_import_string

from thinkvla.contract import Actions, ContractError, Embodiment, Policy
from thinkvla.evaluate.harness import Harness
from thinkvla.evaluate.options import EvaluateOptions, Evaluation
from thinkvla.evaluate.results import Episode

OPTIONAL = ("suite", "perturbation", "level", "first_seed", "assets", "max_steps", "sample", "as_released")
"""Options that only some benchmarks know."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: one class of vla-eval's kind, run in one environment.

    Attributes:
        name: what ``--benchmark`` calls it.
        what: what it is, in a few words.
        path: import string of the class that the simulator processes run.
        environment: name of the isolated environment they run in; None: this interpreter.
        params: arguments of the class that are always the same.
        expert: import string of a :class:`Policy` without arguments, the scripted expert that ground truth is sent to.
        takes: options that are arguments of the class, besides ``tasks``.
        harness: vla-eval's own class of the benchmark, for its container images; its parameter ``suite`` is ours.
        views: whether the class takes ``cameras`` and ``image_size`` of the policy; else it has its own.
        points: whether the class shows 3D points, for a policy that is given them.
        suite: what results call the suite, unless options name one.
        episodes: default for each task.
        first_seed: default seed, or number of the initial state, of each task's first episode.
        most_episodes: episodes of each task there are, from 0; None: no end.
        videos: default number of rollouts to film; 0 where none can be.
    """

    name: str
    what: str
    path: str
    environment: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    expert: str | None = None
    takes: frozenset[str] = frozenset({"first_seed"})
    harness: Harness | None = None
    views: bool = True
    points: bool = False
    suite: str = ""
    episodes: int = 50
    first_seed: int = 0
    most_episodes: int | None = None
    videos: int = 0

    def complete(self, options: EvaluateOptions) -> Evaluation:
        """The options with this benchmark's defaults; raises ValueError for options that do not fit."""
        defaults = {option.name: option.default for option in fields(options)}
        for name in OPTIONAL:
            if name not in self.takes and getattr(options, name) != defaults[name]:
                raise ValueError(f"benchmark '{self.name}' has no {name}; leave --{name.replace('_', '-')} away")
        given = {option.name: getattr(options, option.name) for option in fields(options)}
        own = {"suite": self.suite, "episodes": self.episodes, "first_seed": self.first_seed}
        own["videos"] = self.videos if options.docker is None else 0
        asked = Evaluation(**given | {name: own[name] for name in own if given[name] is None})
        for name, least in (("episodes", 1), ("workers", 1), ("videos", 0), ("first_seed", 0)):
            if getattr(asked, name) < least:
                raise ValueError(f"{name} is {getattr(asked, name)}; it must be at least {least}")
        if asked.videos and not self.videos:
            raise ValueError(f"benchmark '{self.name}' makes no videos; leave --videos away")
        if asked.docker is not None:
            self._check_container(asked)
        self.check(asked)
        return asked

    def check(self, options: Evaluation) -> None:
        """Raise ValueError for complete options that do not fit this benchmark."""
        if self.most_episodes is not None and options.seeds[-1] >= self.most_episodes:
            raise ValueError(
                f"benchmark '{self.name}' has episodes 0 to {self.most_episodes - 1} of each task; first_seed "
                f"{options.first_seed} and {options.episodes} episodes end at {options.seeds[-1]}"
            )

    def _check_container(self, options: Evaluation) -> None:
        if self.harness is None:
            raise ValueError(f"benchmark '{self.name}' does not run in vla-eval's images; leave --docker away")
        for name, only in (("tasks", ()), ("first_seed", 0), ("resume", False), ("perturbation", None), ("videos", 0)):
            if getattr(options, name) != only:
                raise ValueError(f"{name.replace('_', '-')} does not go with --docker: vla-eval's own class decides")

    def entry(self, options: Evaluation, embodiment: Embodiment) -> dict[str, Any]:
        """The benchmark entry of vla-eval's configuration, for a policy of ``embodiment``.

        Raises ContractError when the policy is to be given 3D points and the benchmark has none.
        """
        if embodiment.point_map_size is not None and not self.points:
            raise ContractError(
                f"this policy is given 3D points with its views (method.explicit_points), and benchmark '{self.name}' "
                "shows none; evaluate it on tabletop or a suite of LIBERO, or a policy that sees views alone here"
            )
        params = {**self.params, "tasks": list(options.tasks), **{name: getattr(options, name) for name in self.takes}}
        if self.views:  # what cannot be served, the class refuses
            params |= {"cameras": list(embodiment.cameras), "image_size": list(embodiment.image_size)}
        return {"benchmark": self.path, "episodes_per_task": options.episodes, "params": params}

    def expert_policy(self, options: Evaluation) -> Policy:
        """The scripted expert; raises ValueError when there is none."""
        if self.expert is None:
            raise ValueError(f"benchmark '{self.name}' has no scripted expert; give a checkpoint")
        expert: Policy = resolve_import_string(self.expert)()
        return expert

    def instruction(self, options: Evaluation, task: Mapping[str, Any], seed: int) -> str:
        """What the policy is asked in the episode ``seed`` of a task, as the benchmark describes it.

        Where that differs between a task's episodes, the task has ``instructions``, one for each seed from 0.
        """
        if task.get("instructions"):
            return str(task["instructions"][seed])
        return str(task.get("instruction", task["name"]))

    def film(self, options: Evaluation, rollouts: Mapping[Episode, Actions], folder: Path) -> None:
        """Make the videos of episodes, from the actions that were executed, in a new folder."""
        raise NotImplementedError(f"{type(self).__name__} has videos, but no way to make them")


def recorded_actions(record: Mapping[str, Any]) -> Actions:
    """float32 (steps, D): what was executed in the episode that a record of ``parallel.py`` tells of."""
    return np.array([row["action"] for row in record["rows"]], np.float32)
