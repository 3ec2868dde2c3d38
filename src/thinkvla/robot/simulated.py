"""One tabletop episode under a delay, in simulated time: the world moves on while the policy thinks. Deterministic.

The policy's own computing time counts for nothing; its answer is there ``delay_ms`` after the observation it is about.
A control step under way is not interrupted: an answer that comes in the middle of one is used from the next on. A hold
(nothing left to do but wait, the servos keep their targets) ends when the answer is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from thinkvla.contract import ActionChunk, Policy
from thinkvla.robot.scheduler import ChunkScheduler
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.world import World

_STEP_MS = round(1000 / TABLETOP.control_hz)


@dataclass(frozen=True)
class DelayedEpisode:
    """What happened, in simulated time.

    Attributes:
        success: whether the task was done in time.
        milliseconds: from the first observation to success, or to the end.
        held_ms: of these, how long the robot held.
        actions: control steps executed.
        chunks: observations asked about.
    """

    success: bool
    milliseconds: int
    held_ms: int
    actions: int
    chunks: int


def run_delayed(world: World, policy: Policy, scheduler: ChunkScheduler, seed: int, delay_ms: int) -> DelayedEpisode:
    """Drive the episode of a seed; it ends with success or after the task's ``max_steps`` control steps' time.

    Args:
        world: of the task.
        policy: asked about one observation at a time.
        scheduler: a fresh one.
        seed: of the episode.
        delay_ms: from an observation to the answer; 0 or more.

    Raises:
        ValueError: a negative delay.
    """
    if delay_ms < 0:
        raise ValueError(f"delay_ms is {delay_ms}; a delay is 0 or more milliseconds")
    world.reset(seed)
    limit = world.task.max_steps * _STEP_MS
    now = held = chunks = ready = 0
    answer: ActionChunk | None = None
    success = False
    while not success and now < limit:
        if answer is not None and ready <= now:
            scheduler.answer(answer.actions)
            answer = None
        if scheduler.should_ask():
            [answer] = policy.act([world.observe()])
            scheduler.ask()
            ready, chunks = now + delay_ms, chunks + 1
            continue  # without a delay the answer is there before anything else happens
        action = scheduler.next()
        if action is None:
            world.advance(ready / 1000 - world.time)
            held, now = held + ready - now, ready
        else:
            world.step(action)
            now += _STEP_MS
        success = world.succeeded()
    return DelayedEpisode(success, now, held, scheduler.given, chunks)
