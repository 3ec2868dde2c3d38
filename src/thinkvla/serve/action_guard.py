"""What leaves the server for a robot: finite, in range, within step limits; or the robot is held still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Actions, ContractError, Embodiment
from thinkvla.serve.faults import Refused
from thinkvla.serve.options import GuardOptions, Reaction


@dataclass(frozen=True)
class Guarded:
    """Actions that may be sent.

    Attributes:
        actions: float32 (C, A).
        guards: guard that acted → what it did.
        held_from: first step that holds the robot still; C if none does.
    """

    actions: Actions
    guards: dict[str, str]
    held_from: int


class ActionGuard:
    """Checks chunks against one embodiment's contract and the configured step limits.

    Args:
        embodiment: whose actions they are.
        options: what to do about each violation.

    Raises:
        ContractError: an option names a dimension that there is not, a limit is not above 0, or zero is no value of a
            dimension that is held by a zero.
    """

    def __init__(self, embodiment: Embodiment, options: GuardOptions) -> None:
        self.embodiment, self.options = embodiment, options
        self.low = np.asarray(embodiment.action_low, np.float32)
        self.high = np.asarray(embodiment.action_high, np.float32)
        names = embodiment.action_names
        for option in ("step_limits", "hold"):
            unknown = sorted(set(getattr(options, option)) - set(names))
            if unknown:
                raise ContractError(
                    f"guards.{option}: {unknown} are no action dimensions of embodiment '{embodiment.name}', which has "
                    f"{list(names)}"
                )
        self.limits = np.asarray([options.step_limits.get(name, np.inf) for name in names], np.float32)
        if not (self.limits > 0).all():
            raise ContractError(f"guards.step_limits must be above 0, got {options.step_limits}")
        self.limited = bool(np.isfinite(self.limits).any())
        kept = [options.hold.get(name, "last" if "gripper" in name else "zero") == "last" for name in names]
        self.kept = np.asarray(kept)
        for name, keep, low, high in zip(names, kept, self.low, self.high, strict=True):
            if not keep and not low <= 0 <= high:
                raise ContractError(
                    f"guards.hold: '{name}' would be held by a zero, which is outside its range [{low:g}, {high:g}]; "
                    f"give --guards.hold {name} last"
                )

    def check(self, actions: Actions, last: Actions | None) -> Guarded:
        """A chunk as it may be sent.

        Args:
            actions: (C, A) as the policy gave it.
            last: (A,) the action before it, or None if the robot has not moved yet.

        Raises:
            Refused: by configuration, or because there is nothing to hold: no action before the first one.
        """
        if actions.dtype != np.float32:
            with np.errstate(over="ignore"):  # too large for float32 is infinite, which is not let through
                actions = actions.astype(np.float32)
        guards: dict[str, str] = {}
        held_from = len(actions)
        # The common case in two operations: NaN is neither above nor below anything, so it is not in range either.
        if 0 in (actions >= self.low).tobytes() or 0 in (actions <= self.high).tobytes():
            actions, held_from = self._finite_in_range(actions, last, guards)
        if self.limited:
            actions, held_from = self._within_steps(actions, held_from, last, guards)
        return Guarded(actions, guards, held_from)

    def _finite_in_range(self, actions: Actions, last: Actions | None, guards: dict[str, str]) -> tuple[Actions, int]:
        """The chunk finite and in range, and the first step that holds the robot still."""
        finite = np.isfinite(actions)
        if not finite.all():
            step, dimension = np.argwhere(~finite)[0]
            what = f"step {step}, '{self.embodiment.action_names[dimension]}' is {actions[step, dimension]}"
            self._refuse("not_finite", self.options.not_finite, what)
            guards["not_finite"] = "hold"
            actions = self._held(actions, int(step), last)
            held_from = int(step)
        else:
            held_from = len(actions)
        return self._in_range(actions, held_from, last, guards)

    def hold(self, last: Actions | None, steps: int) -> Actions:
        """(steps, A) actions that keep the robot still; raises Refused if there is no last action to keep."""
        if last is None:
            if self.kept.any():
                names = [n for n, keep in zip(self.embodiment.action_names, self.kept, strict=True) if keep]
                raise Refused(
                    "nothing_to_hold",
                    f"the robot cannot be held still before its first action: {names} would keep their last value",
                )
            last = np.zeros_like(self.low)
        still = np.where(self.kept, np.clip(last, self.low, self.high), 0).astype(np.float32)
        return np.tile(still, (steps, 1))

    def _held(self, actions: Actions, step: int, last: Actions | None) -> Actions:
        """The chunk, held still from ``step`` on."""
        before = last if step == 0 else actions[step - 1]
        return np.concatenate([actions[:step], self.hold(before, len(actions) - step)])

    def _in_range(
        self, actions: Actions, held_from: int, last: Actions | None, guards: dict[str, str]
    ) -> tuple[Actions, int]:
        outside = (actions < self.low) | (actions > self.high)
        if not outside.any():
            return actions, held_from
        step, dimension = (int(i) for i in np.argwhere(outside)[0])
        low, high = self.low[dimension], self.high[dimension]
        name = self.embodiment.action_names[dimension]
        what = f"step {step}, '{name}' is {actions[step, dimension]:.4g}, outside [{low:g}, {high:g}]"
        self._refuse("out_of_range", self.options.out_of_range, what)
        guards["out_of_range"] = self.options.out_of_range
        if self.options.out_of_range == "clip":
            return np.clip(actions, self.low, self.high), held_from
        return self._held(actions, step, last), step

    def _within_steps(
        self, actions: Actions, held_from: int, last: Actions | None, guards: dict[str, str]
    ) -> tuple[Actions, int]:
        """Steps that hold still are exempt: standing still at once is what they are for."""
        before = actions[:1] if last is None else np.clip(last, self.low, self.high)[None]
        changes = np.diff(np.concatenate([before, actions[:held_from]]), axis=0)
        # The sum of an action and its limit is rounded, so exactly the limit must not count as more.
        beyond = np.abs(changes) > self.limits * (1 + 1e-6) + 1e-7
        if not beyond.any():
            return actions, held_from
        step, dimension = (int(i) for i in np.argwhere(beyond)[0])
        name, limit = self.embodiment.action_names[dimension], self.limits[dimension]
        what = f"step {step}, '{name}' changes by {changes[step, dimension]:.4g}, more than {limit:g}"
        self._refuse("step_limit", self.options.step_limit, what)
        guards["step_limit"] = self.options.step_limit
        if self.options.step_limit == "hold":
            return self._held(actions, step, last), step
        limited = actions.copy()
        current: NDArray[np.float32] = before[0]
        for step in range(held_from):
            current = current + np.clip(actions[step] - current, -self.limits, self.limits)
            limited[step] = current
        return np.clip(limited, self.low, self.high), held_from

    def _refuse(self, guard: str, reaction: Reaction, what: str) -> None:
        if reaction == "refuse":
            raise Refused(guard, f"the policy's chunk is refused: {what}")
