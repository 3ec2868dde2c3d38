"""LIBERO's scripted expert as a policy behind the same server, protocol and checks: proof that the wiring is sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thinkvla.contract import ActionChunk, ContractError, Observation
from thinkvla.data.embodiments import SPECIFICATIONS
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.simulators.libero.expert import Expert
from thinkvla.simulators.libero.truth import Truth

CONTROL_HZ = 20.0


class ExpertPolicy:
    """Asks the expert about the ground truth in an observation; chunks of one.

    It looks at no view, so that none is rendered.
    """

    embodiment = replace(SPECIFICATIONS["libero"].embodiment(CONTROL_HZ), cameras=())
    chunk = 1

    def __init__(self) -> None:
        self._expert = Expert()

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The expert's next action for each; raises ContractError for an observation without ground truth."""
        return [ActionChunk(self._expert.act(_truth(observation))[None]) for observation in observations]


def _truth(observation: Observation) -> Truth:
    if not isinstance(observation, PrivilegedObservation):
        raise ContractError("the expert needs ground truth; serve it with PolicyServer(..., privileged=True)")
    return Truth.from_plain(observation.truth)
