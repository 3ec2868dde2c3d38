"""``thinkvla run``: one policy, one robot, one instruction, until time is up or somebody stops it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from thinkvla.contract import ActionChunk, Actions, ContractError, Embodiment, Observation
from thinkvla.progress import progress
from thinkvla.robot.clock import WallClock
from thinkvla.robot.loop import ControlLoop, Limits, Run
from thinkvla.robot.protocol import Command, Robot
from thinkvla.robot.recording import record
from thinkvla.robot.robots import TABLETOP_ROBOT, TabletopScene, open_robot
from thinkvla.robot.safety import EmergencyStop
from thinkvla.robot.scheduler import ChunkScheduler, Mode
from thinkvla.robot.thinker import ChunkSource, LocalPolicy, ThreadThinker
from thinkvla.versions import versions

logger = logging.getLogger(__name__)
WENT_WELL = ("done", "time_is_up")


@dataclass(frozen=True)
class RunOptions:
    """What to run, on what, and when to stop.

    Attributes:
        policy: checkpoint folder, name of a shipped policy, or address of a policy server (ws://host:port).
        output: new folder for the recording.
        robot: ``tabletop``, the simulated arm in real time, or a JSON file that describes a robot (docs/robots.md).
        instruction: what the robot should do; the tabletop's tasks have their own.
        mode: what happens while the policy thinks: the robot holds (``synchronous``), or acts on and joins the chunks
            as ``switch``, ``ensemble`` or ``rtc`` say (docs/robots.md).
        execute: actions between two observations that the policy is asked about; default: half a chunk.
        dry_run: observe and think, show what would be sent, and move nothing.
        stop_file: the robot stops as soon as this file exists.
        tabletop: the scene of the tabletop robot.
        limits: when to stop.
        token_file: file with the policy server's token.
        certificate: PEM file to trust for a server at wss://.
    """

    policy: tyro.conf.Positional[str]
    output: Path
    robot: str = TABLETOP_ROBOT
    instruction: str | None = None
    mode: Mode = "switch"
    execute: int | None = None
    dry_run: bool = False
    stop_file: Path = Path("STOP")
    tabletop: TabletopScene = field(default_factory=TabletopScene)
    limits: Limits = field(default_factory=Limits)
    token_file: Path | None = None
    certificate: Path | None = None


class RemotePolicy:
    """A policy server as a policy. Where its guards hold the robot still, the chunk does, and a warning says so.

    Args:
        client: a connected ``thinkvla.serve.client.PolicyClient``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.embodiment: Embodiment = client.embodiment
        self.chunk: int = client.chunk

    def chunk_for(self, observation: Observation, last: Actions | None) -> ActionChunk:
        """Ask the server, and tell it what was executed: it limits the first step from there."""
        answer = self._client.act(observation, last_action=last)
        if answer.held:
            logger.warning("the policy server holds the robot still: %s", ", ".join(sorted(answer.guards)))
        chunk: ActionChunk = answer.chunk
        return chunk


def run(options: RunOptions) -> Run:
    """Run; the recording is in ``options.output``, whatever ended the run.

    Raises:
        ValueError: options do not fit, there is no such policy or robot, or the stop file or the output exist.
        ContractError: the policy is for another robot.
        RuntimeError: the robot or the policy server is not there.
    """
    if options.output.exists():
        raise ValueError(f"output folder {options.output} exists already; choose another name or remove it")
    emergency, begun = EmergencyStop(options.stop_file), datetime.now(UTC)
    with _policy(options) as policy, _robot(options, policy.embodiment) as (robot, instruction):
        execute = max(1, policy.chunk // 2) if options.execute is None else options.execute
        scheduler = ChunkScheduler(policy.chunk, mode=options.mode, execute=execute)
        thinker = ThreadThinker(policy)
        try:
            with progress("steps") as display, emergency.listening():
                steps = options.limits.seconds * robot.embodiment.control_hz
                bar = display.add_task("dry run" if options.dry_run else "running", total=steps)

                def watch(step: int, command: Command | None) -> None:
                    display.update(bar, completed=step + 1)
                    if options.dry_run:
                        shown = "hold" if command is None else json.dumps(command)
                        display.console.print(f"{step}: {shown}", highlight=False, soft_wrap=True)

                loop = ControlLoop(
                    robot,
                    thinker,
                    scheduler,
                    instruction,
                    options.limits,
                    emergency,
                    WallClock(),
                    dry=options.dry_run,
                    watch=watch,
                )
                with loop.watchdog.watching():
                    result = loop.drive()
        finally:
            thinker.close()
        about = {
            "policy": options.policy,
            "begun": begun.isoformat(timespec="seconds"),
            "execute": execute,
            "options": json.loads(json.dumps(asdict(options), default=str)),
            "versions": versions(),
        }
        record(options.output, result, robot.embodiment, instruction, about)
    return result


@contextmanager
def _policy(options: RunOptions) -> Iterator[ChunkSource]:
    """The policy, warm."""
    if options.policy.startswith(("ws://", "wss://")):
        from thinkvla.serve.client import PolicyClient

        try:
            token = None if options.token_file is None else options.token_file.read_text("utf-8").strip()
            client = PolicyClient(
                options.policy, token=token, timeout_s=options.limits.answer_s, certificate=options.certificate
            )
        except OSError as error:  # of the token's file, or of the connection
            raise RuntimeError(str(error)) from error
        with client:
            yield RemotePolicy(client)
        return
    from thinkvla.deploy import load_policy

    policy = load_policy(options.policy)
    blank = np.zeros((*policy.embodiment.image_size, 3), np.uint8)
    policy.act([Observation(dict.fromkeys(policy.embodiment.cameras, blank), "warm up")])  # the first answer is slow
    yield LocalPolicy(policy)


@contextmanager
def _robot(options: RunOptions, embodiment: Embodiment) -> Iterator[tuple[Robot, str]]:
    """The robot, connected, and the instruction."""
    robot, own_instruction = open_robot(options.robot, options.tabletop, embodiment)
    try:
        ours, theirs = robot.embodiment.to_dict(), embodiment.to_dict()
        differing = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
        if differing:
            key = differing[0]
            raise ContractError(
                f"the policy '{options.policy}' is for another robot: {', '.join(differing)} differ "
                f"({key}: the robot has {ours.get(key)!r}, the policy {theirs.get(key)!r})"
            )
        instruction = options.instruction or own_instruction
        if instruction is None:
            raise ValueError("say what the robot should do: --instruction 'put the red cube on the plate'")
        yield robot, instruction
    finally:
        robot.close()
