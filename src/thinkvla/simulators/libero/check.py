"""Does LIBERO work here? Versions, rendering, and one frame beside a stored one: ``thinkvla env check libero``.

Run by the environment's interpreter; prints one line of JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from thinkvla.contract import Image
from thinkvla.environments.packages import differences
from thinkvla.simulators.libero.benchmark import versions

ENVIRONMENT = "libero"
SUITE, TASK, LAYOUT, VIEW = "libero_object", 0, 0, "front"
REFERENCE = Path(__file__).with_name("check_frame.json")
"""The frame's thumbnail, by MuJoCo 3.2.3 through EGL on a processor (Mesa's llvmpipe)."""
SIDE = 16
TOLERANCE = 3.0
"""Mean difference of 255. Drivers differ by less than one; MuJoCo 3.3.3 and up, which renders otherwise, by dozens."""


def thumbnail(image: Image) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): means of an image's blocks."""
    return np.asarray(Pillow.fromarray(image).resize((SIDE, SIDE), Pillow.Resampling.BOX))


def main() -> None:
    """Print what was found, with ``problems``."""
    found: dict[str, Any] = dict(versions())
    problems = differences(ENVIRONMENT)
    try:
        renderer, image = _frame()
    except Exception as error:
        problems.append(
            f"no frame could be rendered with MUJOCO_GL={os.environ.get('MUJOCO_GL')}: {error}; on Debian, install "
            "libegl1 libopengl0 libgl1-mesa-dri for EGL, or libosmesa6 and set MUJOCO_GL=osmesa"
        )
    else:
        difference = float(np.abs(thumbnail(image) - np.array(json.loads(REFERENCE.read_text("utf-8")), float)).mean())
        found |= {"renderer": renderer, "frame": f"differs from the stored one by {difference:.2f} of 255 on average"}
        if difference > TOLERANCE:
            problems.append(
                f"the rendered frame differs from the stored one by {difference:.1f}, more than {TOLERANCE}"
            )
    print(json.dumps({**found, "problems": problems}))


def _frame() -> tuple[str, Image]:
    """The renderer's name, and the frame."""
    from OpenGL import GL

    from thinkvla.simulators.libero.world import World

    with World(SUITE, TASK) as world:
        world.restore(world.init_states()[LAYOUT])
        image = world.render((256, 256), (VIEW,))[VIEW]
        return GL.glGetString(GL.GL_RENDERER).decode(), image


if __name__ == "__main__":
    main()
