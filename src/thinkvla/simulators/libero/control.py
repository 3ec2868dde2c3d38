"""LIBERO's control step and reset without what nobody needs, to the last bit the same.

robosuite computes the whole dynamics three times in each substep and reads some forty observables; a hard reset makes
the model anew. Only the repeated solving of the contact forces leaves a trace, because each begins from the one before,
so it is repeated here too. The tests compare every bit of the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

SUBSTEPS = 25
SAMPLED = 24
"""Substeps of a control step after which robosuite, by a clock of its own, samples its cameras."""
_SOLVES = 2  # by robosuite's environment and by its controller, besides the one of the step itself


def control_step(domain: Any, command: NDArray[np.float64], sample: Callable[[], None] | None = None) -> None:
    """Execute one command (7,), the simulator's way, for 0.05 s.

    Args:
        domain: LIBERO's problem (``ControlEnv.env``).
        command: translation, rotation and gripper.
        sample: called when robosuite samples its cameras.
    """
    simulation = domain.sim
    model, data = simulation.model._model, simulation.data._data
    simulation.forward = _done_already
    try:
        for substep in range(SUBSTEPS):
            mujoco.mj_step1(model, data)
            for _ in range(_SOLVES):
                mujoco.mj_fwdActuation(model, data)
                mujoco.mj_fwdAcceleration(model, data)
                mujoco.mj_fwdConstraint(model, data)
            domain._pre_action(command, policy_step=substep == 0)
            mujoco.mj_step2(model, data)
            if substep + 1 == SAMPLED and sample is not None:
                sample()
    finally:
        del simulation.forward
    domain._post_process()


def _done_already() -> None:
    """Stands in for the forward computation that the controller asks for."""


class Start:
    """The state right after a hard reset, to go back to instead of resetting again.

    Args:
        domain: LIBERO's problem, just reset.
    """

    _SPEC = mujoco.mjtState.mjSTATE_INTEGRATION

    def __init__(self, domain: Any) -> None:
        self._domain = domain
        self._model, self._data = domain.sim.model._model, domain.sim.data._data
        self._state = np.empty(mujoco.mj_stateSize(self._model, self._SPEC))
        mujoco.mj_getState(self._model, self._data, self._state, self._SPEC)
        robot = domain.robots[0]
        self._parts = [(part, _copied(vars(part))) for part in (robot.controller, robot.gripper)]

    def restore(self) -> None:
        """Put the simulator, its controller and its gripper back."""
        mujoco.mj_resetData(self._model, self._data)
        mujoco.mj_setState(self._model, self._data, self._state, self._SPEC)
        mujoco.mj_forward(self._model, self._data)  # poses; what that leaves in the solver is taken back
        mujoco.mj_setState(self._model, self._data, self._state, self._SPEC)
        for part, values in self._parts:
            vars(part).update(_copied(values))


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in values.items()}
