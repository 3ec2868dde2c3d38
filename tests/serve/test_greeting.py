from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest
from serving import Still, options
from tiny_models import EMBODIMENT
from vla_eval.protocol.messages import MessageType, unpack_message
from vla_eval.specs import DimSpec

from thinkvla.contract import ContractError, Embodiment
from thinkvla.evaluate import wire
from thinkvla.serve.frames import encode
from thinkvla.serve.greeting import camera_keys, differences, fingerprint, greeting
from thinkvla.serve.server import served_contract


def test_both_clients_understand_it() -> None:
    contract = served_contract(Still(), options(execute=4), normalization={"mode": "min_max", "fingerprint": "ab"})
    frame = encode(greeting(contract, {"payload": 5}, {"step_limit": "clip"}))
    openpi = msgpack.unpackb(frame)
    assert Embodiment.from_dict(openpi["contract"]["embodiment"]) == EMBODIMENT
    assert openpi["contract"]["chunk"] == 8
    assert openpi["contract"]["execute"] == 4
    assert openpi["contract"]["normalization"]["fingerprint"] == "ab"
    assert openpi["keys"]["cameras"] == {"front": "observation/image", "wrist": "observation/wrist_image"}
    hello = unpack_message(frame)
    assert hello.type is MessageType.HELLO
    assert hello.payload["observation_params"] == {"observe_every": 4}
    # The same specifications as evaluation's own server announces.
    for name, spec in (("action_spec", wire.action_spec), ("observation_spec", wire.observation_spec)):
        found = {key: DimSpec.from_dict(value) for key, value in hello.payload[name].items()}
        assert found == spec(EMBODIMENT)


def test_execute_must_fit_the_chunk() -> None:
    with pytest.raises(ValueError, match="execute is 9; this policy's chunks allow 1 to 8 steps"):
        served_contract(Still(), options(execute=9))


def test_keys_of_cameras() -> None:
    three = replace(EMBODIMENT, cameras=("left_wrist", "front", "right_wrist", "top"))
    assert camera_keys(three, {"top": "cam"}) == {
        "left_wrist": "observation/wrist_image",
        "front": "observation/image",
        "right_wrist": "observation/right_wrist",
        "top": "cam",
    }
    with pytest.raises(ContractError, match=r"keys for the cameras \['side'\] are given"):
        camera_keys(EMBODIMENT, {"side": "cam"})
    with pytest.raises(ContractError, match="two cameras share a key"):
        camera_keys(EMBODIMENT, {"front": "observation/wrist_image", "wrist": "observation/wrist_image"})


def test_differences_name_the_field() -> None:
    offered = served_contract(Still(), options()).to_dict()
    assert differences(offered, offered) == []
    wanted = {"chunk": 16, "embodiment": {"image_size": (96, 96), "cameras": ["wrist", "front"]}, "speed": 2}
    assert differences(wanted, offered) == [
        "chunk: the client has 16, the server 8",
        "embodiment.cameras: the client has ['wrist', 'front'], the server ['front', 'wrist']",
        "speed: the client has 2, the server None",
    ]


def test_fingerprint_sees_any_change() -> None:
    one = {"mode": "min_max", "low": (0.0, 1.0)}
    assert fingerprint(one) == fingerprint({"low": [0.0, 1.0], "mode": "min_max"})
    assert fingerprint(one) != fingerprint({**one, "low": (0.0, 1.0 + 1e-12)})
