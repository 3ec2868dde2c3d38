"""How ``tabletop.png`` was made: ``python docs/images/make_tabletop.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from thinkvla.tabletop.expert import Expert
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.world import World

SIZE, SEED, STEPS = 224, 3, (0, 9, 13, 18, 24)

columns = []
for task, steps in zip(suite("object")[:5], STEPS, strict=True):
    with World(task) as world:
        world.reset(SEED)
        for _ in range(steps):
            world.step(Expert(task).act(world.state()))
        columns.append(np.concatenate([world.render(camera, (SIZE, SIZE)) for camera in ("front", "wrist")]))
Image.fromarray(np.concatenate(columns, axis=1)).quantize(200).save(Path(__file__).with_name("tabletop.png"))
