"""Seeded noise on an expert's actions, so that demonstrations hold states off the perfect path and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thinkvla.contract import Actions, Embodiment


@dataclass(frozen=True)
class NoiseSpec:
    """How the executed actions differ from the expert's, in units of the action.

    Attributes:
        jitter: standard deviation of noise drawn anew each step.
        burst: standard deviation of a push that is drawn once and lasts ``burst_steps``.
        burst_rate: probability per step that a push begins.
        burst_steps: control steps a push lasts.
        drop_rate: probability per step, while the object is held, that the fingers are forced open for two steps.
    """

    jitter: float = 0.05
    burst: float = 0.35
    burst_rate: float = 0.04
    burst_steps: int = 3
    drop_rate: float = 0.003


class Disturbance:
    """Adds noise to actions: six of motion and a gripper.

    Args:
        noise: how much.
        rng: where it is drawn from.
        embodiment: the range that actions are kept in.
        opened: value of the gripper that opens the fingers.
    """

    def __init__(self, noise: NoiseSpec, rng: np.random.Generator, embodiment: Embodiment, opened: float) -> None:
        self._noise, self._rng, self._embodiment, self._opened = noise, rng, embodiment, opened
        self._push, self._push_left, self._open_left = np.zeros(6), 0, 0

    def apply(self, action: Actions, held: bool) -> Actions:
        """The action (7,) to execute in place of the expert's; ``held`` says whether it holds an object."""
        noise, rng = self._noise, self._rng
        if self._push_left == 0 and rng.random() < noise.burst_rate:
            self._push, self._push_left = rng.normal(0.0, noise.burst, 6), noise.burst_steps
        if held and rng.random() < noise.drop_rate:
            self._open_left = 2
        disturbed = action.copy()
        disturbed[:6] += rng.normal(0.0, noise.jitter, 6) if noise.jitter else 0.0
        if self._push_left:
            disturbed[:6] += self._push
            self._push_left -= 1
        if self._open_left:
            disturbed[6] = self._opened
            self._open_left -= 1
        return np.clip(disturbed, self._embodiment.action_low, self._embodiment.action_high).astype(np.float32)
