"""The vla-eval protocol: episodes of observations, one action for each; a chunk is given out step by step."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from thinkvla.serve.faults import Refused
from thinkvla.serve.frames import encode_vla_eval
from thinkvla.serve.greeting import HARNESS_PROTOCOL
from thinkvla.serve.service import Request, Service, Session

logger = logging.getLogger(__name__)
TYPES = ("hello", "observation", "episode_start", "episode_end", "error", "action")


def speaks(message: Any) -> bool:
    """Whether a message is one of vla-eval's."""
    return isinstance(message, Mapping) and message.get("type") in TYPES and isinstance(message.get("payload"), Mapping)


async def answer(service: Service, session: Session, message: Mapping[str, Any], received: float) -> bytes | None:
    """The reply to one message; None where vla-eval expects none, as for HELLO, which the greeting has answered."""
    kind, payload, seq = message["type"], message["payload"], _number(message.get("seq"))
    try:
        if kind == "hello":
            theirs = payload.get("protocol_version")
            if theirs != HARNESS_PROTOCOL:
                raise Refused("contract", f"protocol_version: the client has {theirs!r}, the server {HARNESS_PROTOCOL}")
        elif kind in ("episode_start", "episode_end"):
            session.restart()
        elif kind == "observation":
            return await _action(service, session, payload, seq, received)
        elif kind == "error":
            logger.warning("%s: the client reports an error: %.200s", session.name, payload.get("error"))
        else:
            raise Refused("frame", f"a client sends no '{kind}'")
    except Refused as refused:
        service.refused(session, refused)
        return refusal(refused, seq)
    return None


def refusal(refused: Refused, seq: int) -> bytes:
    """vla-eval's ERROR message."""
    return _envelope("error", {"error": f"{refused.code}: {refused.reason}"}, seq)


async def _action(service: Service, session: Session, payload: Mapping[str, Any], seq: int, received: float) -> bytes:
    if not session.ready:
        images, instruction = payload.get("images"), payload.get("task_description")
        if not isinstance(images, Mapping):
            raise Refused("observation", f"'images' must be a map of camera to picture; got {sorted(payload)[:16]}")
        if not isinstance(instruction, str):
            raise Refused("observation", f"'task_description' must be text; got {sorted(payload)[:16]}")
        served = await service.answer(session, Request(images, instruction), received, simulated=True)
        session.ready.extend(served.actions[: service.contract.execute])
    return _envelope("action", {"actions": session.ready.popleft()}, seq)


def _envelope(kind: str, payload: dict[str, Any], seq: int) -> bytes:
    return encode_vla_eval({"type": kind, "payload": payload, "seq": seq, "timestamp": time.time()})


def _number(value: Any) -> int:
    return value if type(value) is int and -(2**63) <= value < 2**63 else 0
