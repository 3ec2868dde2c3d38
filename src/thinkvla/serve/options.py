"""The options of ``thinkvla serve``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from thinkvla.serve.frames import FrameLimits

Reaction = Literal["clip", "hold", "refuse"]
Stop = Literal["hold", "refuse"]
LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class GuardOptions:
    """What is done about actions and observations that should not be.

    Attributes:
        not_finite: an action is NaN or infinite: hold the robot still from that step on, or refuse the whole chunk.
        out_of_range: an action is outside the embodiment's range.
        step_limit: an action differs from the one before it by more than its step limit.
        no_answer: the policy failed, or had no answer before the deadline.
        step_limits: action dimension → largest change from one action to the next, in the action's unit; none by
            default.
        hold: action dimension → what keeps it still: a zero, or the last action's value. By default the gripper keeps
            its last value and everything else, being a movement, is zero.
        frozen_after: identical pictures of one camera in a row that count as a frozen camera; 0 switches it off.
            Benchmarks (vla-eval) may stand still.
        max_age_s: seconds an observation's time stamp may be old, if it has one.
        instruction: most characters of an instruction.
    """

    not_finite: Stop = "hold"
    out_of_range: Reaction = "clip"
    step_limit: Reaction = "clip"
    no_answer: Stop = "hold"
    step_limits: dict[str, float] = field(default_factory=dict)
    hold: dict[str, Literal["zero", "last"]] = field(default_factory=dict)
    frozen_after: int = 30
    max_age_s: float = 1.0
    instruction: int = 512


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """How a policy is served.

    Attributes:
        host: address to listen at; any but this machine's own needs a token.
        port: to listen at; 0 takes a free one.
        token_file: file with the token that clients must give.
        certificate: TLS certificate chain, PEM.
        key: its private key, PEM.
        execute: actions executed of each chunk before the policy looks again; default all.
        keys: camera → key of its image in openpi observations; default openpi's own (docs/serving.md).
        instruction_key: key of the instruction in openpi observations.
        ignored: keys that openpi observations may have although the policy does not look at them.
        batch: most observations in one call of the policy.
        queue: most observations waiting; who comes later is told that the server is busy.
        sessions: most connections at once.
        deadline_s: seconds from a robot's observation to its answer; then the guard ``no_answer`` answers. Benchmarks
            (vla-eval) wait.
        idle_s: a connection that sends nothing for so many seconds is closed.
        stall_s: a connection that takes an answer for longer than so many seconds is cut.
        drain_s: seconds that requests in progress get to end after SIGTERM.
        payload: largest message in bytes; default twice an observation and a quarter of a mebibyte.
        limits: what a message may hold.
        guards: of actions and observations.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    execute: int | None = None
    keys: dict[str, str] = field(default_factory=dict)
    instruction_key: str = "prompt"
    ignored: tuple[str, ...] = (
        "observation/state",
        "observation/joint_position",
        "observation/gripper_position",
    )
    batch: int = 8
    queue: int = 32
    sessions: int = 64
    deadline_s: float = 1.0
    idle_s: float = 600.0
    stall_s: float = 5.0
    drain_s: float = 10.0
    payload: int | None = None
    limits: FrameLimits = field(default_factory=FrameLimits)
    guards: GuardOptions = field(default_factory=GuardOptions)

    def __post_init__(self) -> None:
        if self.host not in LOCAL and self.token_file is None:
            raise ValueError(
                f"host '{self.host}' can be reached from other machines, and without a token anyone there could move "
                "the robot; give --token-file, or listen at 127.0.0.1"
            )
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS needs both --certificate and --key")
        for name in ("batch", "queue", "sessions", "deadline_s", "idle_s", "stall_s", "drain_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ServerOptions):
    """Serve a policy to robots: openpi's and vla-eval's clients, on one port.

    Attributes:
        checkpoint: folder of a policy, or the name of a shipped one.
        embodiment: the robot to act for; needed if the policy was trained for several.
        device: to run on; default a GPU if there is one.
    """

    checkpoint: Positional[str]
    embodiment: str | None = None
    device: str | None = None
