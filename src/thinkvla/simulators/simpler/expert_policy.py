"""The scripted expert as a policy behind the same server, protocol and checks: a proof that the wiring is sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkvla.contract import ActionChunk, Actions, ContractError, Observation
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.simulators.simpler.embodiment import embodiment
from thinkvla.simulators.simpler.expert import Expert
from thinkvla.simulators.simpler.state import SceneState


class ExpertPolicy:
    """Asks the expert about the truth in each observation; chunks of one action.

    It looks at no view, so that none is rendered.
    """

    embodiment = embodiment(cameras=())
    chunk = 1

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The expert's next action for each; raises ContractError for an observation without the simulator's truth."""
        return [ActionChunk(self._action(observation)[None]) for observation in observations]

    def _action(self, observation: Observation) -> Actions:
        if not isinstance(observation, PrivilegedObservation):
            raise ContractError("the expert needs the simulator's truth; serve it with privileged=True")
        state = SceneState.from_vector(observation.entry("state", np.ndarray))
        return Expert(observation.entry("task", str)).act(state)
