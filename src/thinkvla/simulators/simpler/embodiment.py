"""What SimplerEnv's WidowX shows and accepts: the ``bridge`` embodiment, its view as the policy expects it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thinkvla.contract import Embodiment
from thinkvla.data.embodiments import find_spec
from thinkvla.simulators.simpler.tasks import CONTROL_HZ

CAMERAS = ("front",)
IMAGE_SIZE = (224, 224)


def embodiment(cameras: Sequence[str] = CAMERAS, image_size: Sequence[int] = IMAGE_SIZE) -> Embodiment:
    """The WidowX of Bridge V2, five steps a second; raises ValueError when it is asked for more than one view.

    Args:
        cameras: what the policy calls its view; none for one that looks at nothing.
        image_size: (height, width) of it, pixels.
    """
    if len(cameras) > 1:
        raise ValueError(f"SimplerEnv's WidowX has one view, from the third person; the policy wants {list(cameras)}")
    height, width = image_size
    return replace(find_spec("bridge").embodiment(CONTROL_HZ), cameras=tuple(cameras), image_size=(height, width))
