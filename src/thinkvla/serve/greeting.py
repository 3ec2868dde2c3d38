"""The first message of every session, which clients of both protocols understand.

An openpi client waits for the server's metadata, any map; a vla-eval client says HELLO and waits for a HELLO. The
greeting is both: a map with vla-eval's envelope (``type``, ``payload``, ``seq``, ``timestamp``) and, beside it, what an
openpi client may want to know. So it can be sent at once, before it is known who is there, and the first message of
the client tells which protocol it speaks.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thinkvla.contract import ContractError, Embodiment

PROTOCOLS = ("openpi", "vla-eval")
HARNESS_VERSION, HARNESS_PROTOCOL = "0.8.0", 1
"""The vla-eval that is spoken here."""


@dataclass(frozen=True)
class Contract:
    """What a policy is served as.

    Attributes:
        embodiment: what it sees and how it acts.
        chunk: actions in each chunk.
        execute: how many of them are executed before the next observation.
        cameras: camera → key of its image in an openpi observation.
        instruction: key of the instruction in an openpi observation.
        ignored: further keys that an openpi observation may have.
        normalization: mode and fingerprint of the normalization of actions; empty where it is not known.
        versions: software → version.
    """

    embodiment: Embodiment
    chunk: int
    execute: int
    cameras: Mapping[str, str]
    instruction: str = "prompt"
    ignored: tuple[str, ...] = ()
    normalization: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The contract's fields as they are announced, and as a client may send them back to be compared."""
        return {
            "embodiment": self.embodiment.to_dict(),
            "chunk": self.chunk,
            "execute": self.execute,
            "normalization": dict(self.normalization),
        }


def greeting(contract: Contract, limits: Mapping[str, Any], guards: Mapping[str, Any]) -> dict[str, Any]:
    """The greeting, ready to be encoded.

    Args:
        contract: of the policy.
        limits: what a message may be.
        guards: configuration of the guards.
    """
    payload = {
        "harness_version": HARNESS_VERSION,
        "protocol_version": HARNESS_PROTOCOL,
        "model_server": "thinkvla",
        "capabilities": {},
        "observation_params": {"observe_every": contract.execute},
        "action_spec": action_spec(contract.embodiment),
        "observation_spec": observation_spec(contract.embodiment),
        "contract": contract.to_dict(),
    }
    return {
        "type": "hello",
        "payload": payload,
        "seq": 0,
        "timestamp": time.time(),
        "server": "thinkvla",
        "protocols": list(PROTOCOLS),
        "contract": contract.to_dict(),
        "keys": {
            "cameras": dict(contract.cameras),
            "instruction": contract.instruction,
            "ignored": list(contract.ignored),
        },
        "limits": dict(limits),
        "guards": dict(guards),
        "versions": dict(contract.versions),
    }


def action_spec(embodiment: Embodiment) -> dict[str, Any]:
    """vla-eval's specification of the actions, as it travels."""
    bounds = [min(embodiment.action_low), max(embodiment.action_high)]
    return {
        "action": {
            "name": "action",
            "dims": embodiment.action_dim,
            "format": embodiment.action_format,
            "range": bounds,
        }
    }


def observation_spec(embodiment: Embodiment) -> dict[str, Any]:
    """vla-eval's specification of the observations, as it travels."""
    views = {
        f"images/{camera}": {"name": f"images/{camera}", "dims": 0, "format": embodiment.image_format}
        for camera in embodiment.cameras
    }
    return {**views, "language": {"name": "language", "dims": 0, "format": "language"}}


def camera_keys(embodiment: Embodiment, chosen: Mapping[str, str]) -> dict[str, str]:
    """Camera → its key in an openpi observation: as chosen, else by openpi's customs.

    The first camera with ``wrist`` in its name is ``observation/wrist_image``, the first other one
    ``observation/image``, and any further one ``observation/NAME``.

    Raises:
        ContractError: there is no such camera, or two share a key.
    """
    unknown = sorted(set(chosen) - set(embodiment.cameras))
    if unknown:
        raise ContractError(
            f"keys for the cameras {unknown} are given; embodiment '{embodiment.name}' has {list(embodiment.cameras)}"
        )
    keys: dict[str, str] = {}
    for camera in embodiment.cameras:
        custom = "observation/wrist_image" if "wrist" in camera else "observation/image"
        keys[camera] = chosen.get(camera, f"observation/{camera}" if custom in keys.values() else custom)
    if len(set(keys.values())) < len(keys):
        raise ContractError(f"two cameras share a key: {keys}; give each its own")
    return keys


def fingerprint(values: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that differ when ``values`` (plain JSON) differ."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def differences(wanted: Mapping[str, Any], offered: Mapping[str, Any], path: str = "") -> list[str]:
    """One sentence for each field of ``wanted``, however deep, whose value in ``offered`` is another."""
    found = []
    for name, value in wanted.items():
        other = offered.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found += differences(value, other, f"{path}{name}.")
        elif _plain(value) != _plain(other):
            found.append(f"{path}{name}: the client has {_plain(value)!r}, the server {_plain(other)!r}")
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
