"""Checks the environment from inside: versions, the Vulkan driver, and one rendered frame. Needs no assets."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from thinkvla.environments.packages import differences
from thinkvla.simulators.simpler.protocol import versions

_SIZE, _CELLS = 64, 8
_TOLERANCE = 3.0
"""Mean difference of a cell's colour, of 255, up to which a driver draws the same picture."""


def main() -> None:
    """Print one JSON object: what was found, and ``problems``."""
    found: dict[str, Any] = dict(versions())
    problems = differences("simpler")
    try:
        frame = render()
    except (RuntimeError, ImportError) as error:  # no Vulkan driver serves it, or a library of the system is missing
        problems.append(f"SAPIEN cannot render: {error}; see docs/benchmarks.md for its Vulkan driver")
    else:
        import sapien

        found["Vulkan driver"] = sapien.render.get_device_summary().strip().splitlines()[0]
        difference = float(np.abs(cells(frame) - EXPECTED).mean())
        found["rendering"] = f"{_SIZE} × {_SIZE} px, differs by {difference:.2f} of 255 from the stored frame"
        if difference > _TOLERANCE:
            problems.append(f"the rendered frame differs by {difference:.1f} of 255, more than {_TOLERANCE:g}")
    print(json.dumps({**found, "problems": problems}))


def render() -> np.ndarray:
    """uint8 (64, 64, 3): a box under one light, rendered on the CPU; raises RuntimeError without a Vulkan driver."""
    import cv2  # noqa: F401  # needs a library of the system as well
    import sapien

    scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(sapien.Device("cpu"))])
    scene.set_ambient_light([0.3, 0.3, 0.3])
    scene.add_directional_light([0.3, 0.5, -1.0], [2.0, 2.0, 2.0])
    builder = scene.create_actor_builder()
    builder.add_box_visual(half_size=[0.2, 0.2, 0.2], material=[0.8, 0.3, 0.1])
    builder.build_static(name="box")
    camera = scene.add_camera("camera", _SIZE, _SIZE, 1.0, 0.01, 10.0)
    camera.set_local_pose(sapien.Pose([-0.9, 0.0, 0.4], [0.98, 0.0, 0.19, 0.0]))
    scene.update_render()
    camera.take_picture()
    frame: np.ndarray = (np.clip(camera.get_picture("Color")[..., :3], 0.0, 1.0) * 255).astype(np.uint8)
    return frame


def cells(frame: np.ndarray) -> np.ndarray:
    """(8, 8, 3) mean colours of a frame's cells: what survives another driver's rounding."""
    side = _SIZE // _CELLS
    means: np.ndarray = np.asarray(frame, np.float64).reshape(_CELLS, side, _CELLS, side, 3).mean((1, 3))
    return means


_GREY = (147, 147, 147)
_EDGE = {
    2: ((166, 144, 129), (180, 142, 115)),
    3: ((174, 112, 69), (175, 112, 68)),
    4: ((160, 109, 74), (162, 104, 63)),
    5: ((159, 113, 81), (162, 104, 63)),
    6: ((152, 132, 117), (154, 126, 105)),
}
"""Row → colours of the third and fourth cell; the fifth and sixth mirror them."""
EXPECTED = np.array(
    [
        [_GREY, _GREY, *_EDGE.get(row, (_GREY, _GREY)), *_EDGE.get(row, (_GREY, _GREY))[::-1], _GREY, _GREY]
        for row in range(_CELLS)
    ],
    np.float64,
)

if __name__ == "__main__":
    main()
