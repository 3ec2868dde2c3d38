from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving import observation
from tiny_models import EMBODIMENT

from thinkvla.contract import Observation
from thinkvla.serve.faults import Refused
from thinkvla.serve.frames import EncodedImage
from thinkvla.serve.observation_guard import ObservationGuard, Seen, decoded_images
from thinkvla.serve.options import GuardOptions


def refuse(words: str, seen: Observation, timestamp: float | None = None, **given: Any) -> None:
    with pytest.raises(Refused, match=words):
        ObservationGuard(EMBODIMENT, GuardOptions(**given)).check(seen, timestamp, Seen())


def with_front(image: Any) -> Observation:
    good = observation()
    return Observation({**good.images, "front": image}, good.instruction)


def test_shape_type_and_missing_cameras() -> None:
    good = observation()
    refuse("observation: .*'front'.*expected shape", with_front(np.zeros((96, 95, 3), np.uint8)))
    refuse("observation: .*'front'.*expected a uint8 array", with_front(np.full((96, 96, 3), np.nan)))
    refuse("observation: .*'front'.*got str", with_front("picture"))
    refuse("observation: .*camera 'wrist' is missing", Observation({"front": good.images["front"]}, "lift it"))


def test_instruction_is_neither_empty_nor_long() -> None:
    refuse("instruction is empty", replace(observation(), instruction=" \n"))
    refuse(
        "instruction: .*has 6 characters; the limit is 5", replace(observation(), instruction="x" * 6), instruction=5
    )


@pytest.mark.parametrize("age", [2.0, -2.0, float("nan"), float("inf")])
def test_stale_time_stamp(age: float) -> None:
    refuse("stale", observation(), time.time() - age)


def test_time_stamps_must_grow() -> None:
    guard, seen, now = ObservationGuard(EMBODIMENT, GuardOptions()), Seen(), time.time()
    guard.check(observation(0), now, seen)
    with pytest.raises(Refused, match="not newer"):
        guard.check(observation(1), now, seen)
    guard.check(observation(2), now + 0.01, seen)


def test_frozen_camera_is_found_and_forgiven() -> None:
    guard, seen = ObservationGuard(EMBODIMENT, GuardOptions(frozen_after=3)), Seen()
    frozen = observation(0).images["wrist"]
    for seed in range(2):
        guard.check(Observation({**observation(seed).images, "wrist": frozen}, "lift it"), None, seen)
    with pytest.raises(Refused, match="frozen_camera: camera 'wrist' has sent the same picture 3 times"):
        guard.check(Observation({**observation(5).images, "wrist": frozen}, "lift it"), None, seen)
    guard.check(observation(6), None, seen)
    one_pixel = {**observation(7).images, "wrist": observation(6).images["wrist"].copy()}
    one_pixel["wrist"][3, 3, 1] ^= 1
    guard.check(Observation(one_pixel, "lift it"), None, seen)
    guard.settle(seen)
    assert seen.repeats == {"front": 1, "wrist": 1}


def test_frozen_check_can_be_off() -> None:
    guard, seen = ObservationGuard(EMBODIMENT, GuardOptions(frozen_after=0)), Seen()
    for _ in range(50):
        guard.check(observation(), None, seen)
    guard, seen = ObservationGuard(EMBODIMENT, GuardOptions(frozen_after=2)), Seen()
    for _ in range(50):
        guard.check(observation(), None, seen, simulated=True)


def encoded(image: Image.Image, kind: str = "png") -> EncodedImage:
    data = io.BytesIO()
    image.save(data, kind)
    return EncodedImage(kind, memoryview(data.getvalue()))


def test_compressed_pictures() -> None:
    picture = observation().images["front"]
    size = EMBODIMENT.image_size
    found = decoded_images({"front": encoded(Image.fromarray(picture)), "wrist": picture}, size)
    assert np.array_equal(found["front"], picture)
    assert found["wrist"] is picture
    assert decoded_images({"front": encoded(Image.fromarray(picture), "jpeg")}, size)["front"].shape == (96, 96, 3)
    bomb = encoded(Image.new("RGB", (4000, 4000)))
    for wrong, words in (
        (bomb, "expected an RGB picture of 96x96"),
        (encoded(Image.new("L", (96, 96))), "got L of 96x96"),
        (EncodedImage("png", memoryview(b"nonsense")), "no complete png picture"),
        (EncodedImage("png", encoded(Image.fromarray(picture)).data[:-200]), "no complete png picture"),
        (EncodedImage("jpeg", encoded(Image.fromarray(picture)).data), "no complete jpeg picture"),
    ):
        with pytest.raises(Refused, match=words):
            decoded_images({"front": wrong}, size)
