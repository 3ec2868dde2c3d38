"""What comes in from a robot: every camera, as the contract wants it, alive and fresh; an instruction, not too long."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thinkvla.contract import ContractError, Embodiment, Image, Observation
from thinkvla.serve.faults import Refused
from thinkvla.serve.frames import EncodedImage
from thinkvla.serve.options import GuardOptions


@dataclass
class Seen:
    """What one session has shown so far.

    Attributes:
        images: the last picture of each camera.
        repeats: how often it came again, unchanged.
        timestamp: of the last observation that had one.
        uncompared: the last observation, where its pictures have not been compared with those before yet.
    """

    images: dict[str, Image] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    timestamp: float | None = None
    uncompared: Observation | None = None


class ObservationGuard:
    """Checks observations before a policy sees them.

    Args:
        embodiment: the contract.
        options: the limits.
    """

    def __init__(self, embodiment: Embodiment, options: GuardOptions) -> None:
        self.embodiment, self.options = embodiment, options

    def check(
        self,
        observation: Observation,
        timestamp: float | None,
        seen: Seen,
        *,
        known: bool = False,
        simulated: bool = False,
    ) -> None:
        """Raise Refused unless the observation is fit to act on; ``seen`` is brought up to date.

        Where the pictures cannot complete a row that counts as frozen, comparing them is left to ``settle``, or to
        the next check: a robot does not wait for it.

        Args:
            observation: decoded.
            timestamp: when its images were taken, seconds since the epoch, if the client says so.
            seen: of the same session.
            known: it differs from an observation that passed in nothing but the contents of its pictures.
            simulated: cameras may show the same picture again and again.
        """
        self.settle(seen)
        if not known:
            self._fit(observation)
        if timestamp is not None:
            self._fresh(timestamp, seen)
        if self.options.frozen_after and not simulated:
            seen.uncompared = observation
            if max(seen.repeats.values(), default=0) + 1 >= self.options.frozen_after:
                self.settle(seen)
                self._alive(seen)

    def settle(self, seen: Seen) -> None:
        """Compare the last observation's pictures with those before, if that was left for later."""
        if seen.uncompared is None:
            return
        for camera, image in seen.uncompared.images.items():
            before = seen.images.get(camera)
            same = before is not None and _same(image, before)
            seen.repeats[camera] = seen.repeats[camera] + 1 if same else 1
            seen.images[camera] = image
        seen.uncompared = None

    def _fit(self, observation: Observation) -> None:
        try:
            observation.check(self.embodiment)
        except ContractError as error:
            raise Refused("observation", str(error)) from None
        length = len(observation.instruction)
        if length > self.options.instruction:
            raise Refused(
                "instruction", f"the instruction has {length} characters; the limit is {self.options.instruction}"
            )

    def _fresh(self, timestamp: float, seen: Seen) -> None:
        age = time.time() - timestamp
        if not abs(age) <= self.options.max_age_s:  # NaN is not fresh either
            raise Refused(
                "stale",
                f"the observation's time stamp is {age:.3f} s old; {self.options.max_age_s:g} s are allowed (are both "
                "clocks right?)",
            )
        if seen.timestamp is not None and timestamp <= seen.timestamp:
            raise Refused("stale", "the observation's time stamp is not newer than the one before; send new images")
        seen.timestamp = timestamp

    def _alive(self, seen: Seen) -> None:
        for camera, count in seen.repeats.items():
            if count >= self.options.frozen_after:
                raise Refused(
                    "frozen_camera",
                    f"camera '{camera}' has sent the same picture {count} times in a row; check the camera (for a "
                    "simulator, which may stand still, serve with --guards.frozen-after 0)",
                )


def _same(image: Image, other: Image) -> bool:
    """Whether two pictures of one size are equal; nearly every new one differs in its middle row already."""
    middle = len(image) // 2
    return image[middle].tobytes() == other[middle].tobytes() and np.array_equal(image, other)


def decoded_images(images: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Compressed pictures decoded, the others as they are.

    Args:
        images: camera → picture.
        size: (height, width) that the contract wants; a picture that claims another is not even decoded.

    Raises:
        Refused: a picture is broken, of another size, or not RGB.
    """
    from PIL import Image as Pillow

    found = dict(images)
    for camera, image in images.items():
        if not isinstance(image, EncodedImage):
            continue
        field_name = f"observation.images['{camera}']"
        try:
            with Pillow.open(io.BytesIO(image.data), formats=[image.format]) as picture:
                if (picture.height, picture.width) != size or picture.mode != "RGB":
                    raise Refused(
                        "observation",
                        f"{field_name}: expected an RGB picture of {size[0]}x{size[1]} (height x width), got "
                        f"{picture.mode} of {picture.height}x{picture.width}",
                    )
                found[camera] = np.asarray(picture)
        except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError):
            raise Refused("observation", f"{field_name}: this is no complete {image.format} picture") from None
    return found
