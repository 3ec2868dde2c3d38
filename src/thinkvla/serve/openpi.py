"""The openpi protocol: flat observations in, chunks out; a refusal is a text message, as openpi's own errors are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thinkvla.serve.faults import Refused
from thinkvla.serve.frames import encode
from thinkvla.serve.greeting import Contract, differences
from thinkvla.serve.service import Request, Served, Service, Session

OWN_KEYS = ("timestamp", "last_action", "contract")


async def answer(service: Service, session: Session, message: Any, received: float) -> bytes:
    """The reply to one observation; raises Refused."""
    asked = request(service.contract, message, known=session.known)
    served = await service.answer(session, asked, received)
    return encode(reply(served))


def request(contract: Contract, message: Any, *, known: bool = False) -> Request:
    """An openpi observation read by the contract's keys.

    Besides those it may have ``timestamp`` (seconds since the epoch), ``last_action`` (A,) and ``contract``, any of
    the greeting's contract fields as the client has them.

    Args:
        contract: what is served.
        message: as it was decoded.
        known: it differs from one that was fit in nothing but the contents of arrays.

    Raises:
        Refused: a key is missing or unknown, a value has the wrong type, or a field of the client's contract differs.
    """
    if not known:
        _readable(contract, message)
    images = {camera: message[key] for camera, key in contract.cameras.items()}
    return Request(images, message[contract.instruction], _timestamp(message), _last_action(message), known)


def _readable(contract: Contract, message: Any) -> None:
    """Raise Refused unless the keys are those of the contract, and the client's own contract, if any, is the same."""
    if not isinstance(message, Mapping):
        raise Refused("observation", f"an observation must be a map of keys to values, got {type(message).__name__}")
    if "contract" in message:
        _agree(contract, message["contract"])
    for camera, key in contract.cameras.items():
        if key not in message:
            raise Refused(
                "observation",
                f"key '{key}' is missing (camera '{camera}'); got {_some(message)}. Send it, or serve with --keys "
                f"{camera} YOUR_KEY",
            )
    if contract.instruction not in message:
        raise Refused("observation", f"key '{contract.instruction}', the instruction, is missing; got {_some(message)}")
    known = {*contract.cameras.values(), contract.instruction, *contract.ignored, *OWN_KEYS}
    unknown = _some(set(message) - known)
    if unknown:
        raise Refused(
            "observation",
            f"unknown keys {unknown}; the policy looks at {[*contract.cameras.values(), contract.instruction]}. Leave "
            "them out, or serve with --ignored",
        )
    instruction = message[contract.instruction]
    if not isinstance(instruction, str):
        raise Refused("observation", f"'{contract.instruction}' must be text, got {type(instruction).__name__}")


def reply(served: Served) -> dict[str, Any]:
    """What an openpi client gets: ``actions`` is the only array, because its chunk broker cuts every array."""
    return {
        "actions": served.actions,
        "policy_timing": {"infer_ms": served.timing["infer_ms"]},
        "server_timing": served.timing,
        "guards": served.guards,
        "held": served.held,
    }


def refusal(refused: Refused) -> str:
    """The text message for a refusal: its code, a colon, its reason."""
    return f"{refused.code}: {refused.reason}"


def _agree(contract: Contract, offered: Any) -> None:
    if not isinstance(offered, Mapping):
        raise Refused("contract", f"'contract' must be a map, got {type(offered).__name__}")
    found = differences(offered, contract.to_dict())
    if found:
        raise Refused("contract", "the client's contract does not fit: " + "; ".join(found))


def _timestamp(message: Mapping[str, Any]) -> float | None:
    value = message.get("timestamp")
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind == "f":
        return float(value.reshape(()))
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise Refused("observation", "'timestamp' must be a number, seconds since the epoch")


def _last_action(message: Mapping[str, Any]) -> Any:
    value = message.get("last_action")
    if value is not None and not isinstance(value, np.ndarray):
        raise Refused("observation", f"'last_action' must be an array, got {type(value).__name__}")
    return value


def _some(keys: Any) -> list[str]:
    """The first keys, shortened: a client is told its own words, but not all of them."""
    return [str(key)[:64] for key in sorted(keys)[:16]]
