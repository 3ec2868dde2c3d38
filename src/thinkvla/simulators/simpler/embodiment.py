"""What SimplerEnv's WidowX shows and accepts: the ``bridge`` embodiment, at the image size of the policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thinkvla.contract import Embodiment
from thinkvla.data.embodiments import find_spec
from thinkvla.simulators.simpler.tasks import CONTROL_HZ

IMAGE_SIZE = (224, 224)


def embodiment(image_size: Sequence[int] = IMAGE_SIZE) -> Embodiment:
    """The WidowX of Bridge V2, five steps a second, its view of (height, width) pixels."""
    height, width = image_size
    return replace(find_spec("bridge").embodiment(CONTROL_HZ), image_size=(height, width))
