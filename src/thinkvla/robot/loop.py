"""The control loop: observe, act, at the control rate; whatever goes wrong, the robot is stopped."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thinkvla.contract import Actions, ContractError, Embodiment, Image, Observation
from thinkvla.robot.clock import Clock
from thinkvla.robot.protocol import Command, Robot, Sight
from thinkvla.robot.safety import Brake, EmergencyStop, Fault, Watchdog
from thinkvla.robot.scheduler import ChunkScheduler
from thinkvla.robot.thinker import Thinker

_EARLY_S = 0.001  # clocks of two processes may be read a moment apart
_POLL_S = 0.005


@dataclass(frozen=True)
class Limits:
    """When the loop gives up. All stop the robot.

    Attributes:
        seconds: a run ends after so many.
        max_age_s: an observation may be so old.
        answer_s: the policy may think for so long about one observation.
        late_steps: so many control steps in a row may not miss their time.
        watchdog_s: the loop may be silent for so long.
    """

    seconds: float = 60.0
    max_age_s: float = 0.5
    answer_s: float = 2.0
    late_steps: int = 3
    watchdog_s: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"limits.{name} is {value}; it must be above 0")


@dataclass
class Run:
    """What happened.

    Attributes:
        ended: ``done``, ``time_is_up``, or the code of the fault.
        reason: in words.
        frames: camera → the images of each control step.
        actions: (A,) of each control step; a step in which the robot held counts as no movement.
        held: steps in which it held.
        late: steps that missed their time.
        answers_s: seconds from each observation that was asked about to its answer.
    """

    ended: str = ""
    reason: str = ""
    frames: dict[str, list[Image]] = field(default_factory=dict)
    actions: list[Actions] = field(default_factory=list)
    held: int = 0
    late: int = 0
    answers_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """JSON-ready, without images and actions."""
        answers = sorted(self.answers_s)
        return {
            "ended": self.ended,
            "reason": self.reason,
            "steps": len(self.actions),
            "held": self.held,
            "late": self.late,
            "answers": len(answers),
            "median_answer_s": round(statistics.median(answers), 4) if answers else None,
            "longest_answer_s": round(answers[-1], 4) if answers else None,
        }


def no_movement(embodiment: Embodiment, last: Actions | None) -> Actions:
    """The action (A,) of standing still: zeros, but a gripper goes on with what it was told last."""
    still = np.zeros(embodiment.action_dim, np.float32)
    if last is not None:
        grippers = ["gripper" in name for name in embodiment.action_names]
        still[grippers] = last[grippers]
    return still


class ControlLoop:
    """One run of a policy on a robot.

    Args:
        robot: to drive.
        thinker: the policy.
        scheduler: joins its chunks; a fresh one.
        instruction: what the robot is asked to do.
        limits: when to give up.
        emergency: a person's wish to stop.
        clock: to live by.
        dry: the robot is not moved.
        watch: is told of every step and its command, None for a step of holding.
    """

    def __init__(
        self,
        robot: Robot,
        thinker: Thinker,
        scheduler: ChunkScheduler,
        instruction: str,
        limits: Limits,
        emergency: EmergencyStop,
        clock: Clock,
        *,
        dry: bool = False,
        watch: Callable[[int, Command | None], None] = lambda step, command: None,
    ) -> None:
        self._robot, self._thinker, self._scheduler = robot, thinker, scheduler
        self._instruction, self._limits, self._clock = instruction, limits, clock
        self._dry, self._watch = dry, watch
        self.brake = Brake(robot)
        self.watchdog = Watchdog(self.brake, emergency, clock, limits.watchdog_s)
        self._asked_at = 0.0
        self.run = Run(frames={camera: [] for camera in robot.embodiment.cameras})

    def drive(self) -> Run:
        """Run until the task is done, time is up, or something is wrong; then the robot has been told to stop.

        Whatever is wrong is in the result, never raised, so that the run can be recorded. If even stopping failed, the
        reason says so.
        """
        fault = Fault("time_is_up", f"{self._limits.seconds:g} s have passed")
        try:
            if self._steps():
                fault = Fault("done", "the robot reports that the task is done")
        except Fault as found:
            fault = found
        except ContractError as error:
            fault = Fault("contract", str(error))
        except Exception as error:  # whatever it is, the robot stops
            fault = Fault("exception", f"{type(error).__name__}: {error}")
        try:
            self.brake.stop(fault)
        except Exception as error:
            fault = Fault(fault.code, f"{fault.reason}; STOPPING FAILED, use the arm's own button: {error}")
        self.run.ended, self.run.reason = fault.code, fault.reason
        return self.run

    def _steps(self) -> bool:
        """Control steps until time is up (False) or the robot says that it is done (True)."""
        period, late = 1 / self._robot.embodiment.control_hz, 0
        begun = due = self._clock.now()
        while due - begun < self._limits.seconds - _EARLY_S:
            self.watchdog.check()
            if self.brake.fault is not None:
                raise self.brake.fault
            sight = self._robot.observe()
            observation = self._checked(sight)
            if sight.done:
                return True
            action = self._next(observation)
            if action is None:  # nothing to lose by waiting, and the next step begins when the answer is there
                action = self._awaited(due + period)
                due = due if action is None else self._clock.now()
            self._step(observation, action)
            self.watchdog.beat()
            due += period
            left = due - self._clock.now()
            if left >= -_EARLY_S:
                late = 0
                self._clock.sleep(max(left, 0.0))
                continue
            late, self.run.late = late + 1, self.run.late + 1
            if late >= self._limits.late_steps:
                raise Fault(
                    "deadline",
                    f"{late} control steps in a row missed their time, the last by {-left:.3f} s of {period:g} s; look "
                    "for a slow camera or a busy machine",
                )
            due = self._clock.now()  # lost time is lost: the next step takes its full period
        return False

    def _checked(self, sight: Sight) -> Observation:
        age = self._clock.now() - sight.taken_at
        if not -_EARLY_S <= age <= self._limits.max_age_s:  # NaN is not either
            raise Fault(
                "stale_observation",
                f"the images are {age:.3f} s old, {self._limits.max_age_s:g} s are allowed; look at the cameras",
            )
        observation = Observation(sight.images, self._instruction)
        observation.check(self._robot.embodiment)
        return observation

    def _next(self, observation: Observation) -> Actions | None:
        """The action of this step, asking the policy if it is time to."""
        self._take_answer()
        if self._scheduler.should_ask():
            self._thinker.ask(observation, self.run.actions[-1] if self.run.actions else None)
            self._scheduler.ask()
            self._asked_at = self._clock.now()
        elif self._scheduler.pending and self._clock.now() - self._asked_at > self._limits.answer_s:
            raise Fault("no_answer", f"the policy has been thinking for more than {self._limits.answer_s:g} s")
        return self._scheduler.next()

    def _awaited(self, until: float) -> Actions | None:
        """The first action of an answer that comes before ``until``."""
        while not self._take_answer():
            if self._clock.now() >= until - _EARLY_S:
                return None
            self._clock.sleep(min(_POLL_S, until - self._clock.now()))
        return self._scheduler.next()

    def _take_answer(self) -> bool:
        try:
            chunk = self._thinker.answer()
        except TimeoutError as error:  # a policy server's
            raise Fault("no_answer", str(error)) from error
        if chunk is None:
            return False
        chunk.check(self._robot.embodiment)
        self.run.answers_s.append(self._clock.now() - self._asked_at)
        self._scheduler.answer(chunk.actions)
        return True

    def _step(self, observation: Observation, action: Actions | None) -> None:
        """Move, or hold if there is no action, and write it down."""
        command = None if action is None else self._robot.command(action)
        if command is not None and not self._dry:
            self.brake.act(command)
        self._watch(len(self.run.actions), command)
        self.run.held += action is None
        last = self.run.actions[-1] if self.run.actions else None
        self.run.actions.append(no_movement(self._robot.embodiment, last) if action is None else action)
        for camera, image in observation.images.items():
            self.run.frames[camera].append(image)
