"""The scripted expert as a policy behind the same server, protocol and checks: a proof that the wiring is sound."""

from __future__ import annotations

from collections.abc import Sequence

from thinkvla.contract import ActionChunk, Actions, ContractError, Observation
from thinkvla.evaluate.policy import PrivilegedObservation
from thinkvla.simulators.simpler.embodiment import IMAGE_SIZE, embodiment
from thinkvla.simulators.simpler.expert import Expert
from thinkvla.simulators.simpler.state import SceneState


class ExpertPolicy:
    """Asks the expert about the truth in each observation; chunks of one action.

    Args:
        image_size: (height, width) of the views that it is sent and does not look at.
    """

    chunk = 1

    def __init__(self, image_size: Sequence[int] = IMAGE_SIZE) -> None:
        self.embodiment = embodiment(image_size)

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The expert's next action for each; raises ContractError for an observation without the simulator's truth."""
        return [ActionChunk(self._action(observation)[None]) for observation in observations]

    def _action(self, observation: Observation) -> Actions:
        if not isinstance(observation, PrivilegedObservation):
            raise ContractError("the expert needs the simulator's truth; serve it with privileged=True")
        return Expert(observation.task).act(SceneState.from_vector(observation.snapshot))
