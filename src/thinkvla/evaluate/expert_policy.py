"""The scripted expert as a policy behind the same server, protocol and checks: a proof that the wiring is sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkvla.contract import ActionChunk, Actions, ContractError, Observation
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.expert import Expert
from thinkvla.tabletop.perturbations import Perturbation, perturbed
from thinkvla.tabletop.suites import choose_tasks
from thinkvla.tabletop.world import World


class ExpertPolicy:
    """Rebuilds the moment from an observation's snapshot in a world of its own, and asks the expert; chunks of one.

    Args:
        perturbation: how the scenes that it will see are perturbed.
    """

    embodiment = TABLETOP
    chunk = 1

    def __init__(self, perturbation: Perturbation | None = None) -> None:
        self._perturbation = perturbation
        self._worlds: dict[tuple[str, str], World] = {}

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The expert's next action for each; raises ContractError for an observation without ground truth."""
        return [ActionChunk(self._action(observation)[None]) for observation in observations]

    def _action(self, observation: Observation) -> Actions:
        if not isinstance(observation, PrivilegedObservation):
            raise ContractError("the expert needs ground truth; serve it with PolicyServer(..., privileged=True)")
        key = (observation.entry("suite", str), observation.entry("task", str))
        if key not in self._worlds:
            (task,) = choose_tasks(key[0], [key[1]])
            self._worlds[key] = World(perturbed(task, self._perturbation))
        world = self._worlds[key]
        world.restore(observation.entry("snapshot", np.ndarray), observation.entry("seed", int))
        return Expert(world.scene).act(world.state())
