"""A picture from anywhere in an episode, with every question that can be asked about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thinkvla.contract import Image
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.expert import Expert
from thinkvla.tabletop.questions import GeneralRow, SpatialRow, general_rows, spatial_rows
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World

FRONT_SHARE = 0.8
"""Share of the pictures from the front camera, which sees more than the wrist's."""
LATER_SHARE = 0.5
"""Share of the pictures from after some of the expert's steps; the others are from an episode's start."""
MOST_STEPS = 40


@dataclass(frozen=True)
class Photograph:
    """One picture and what can be asked about it.

    Attributes:
        camera: name of the camera.
        image: uint8 (H, W, 3) RGB.
        spatial: at most one question of each spatial category.
        general: at most one question of each general category.
    """

    camera: str
    image: Image
    spatial: list[SpatialRow]
    general: list[GeneralRow]


def photograph(task: Task, seed: int, rng: np.random.Generator) -> Photograph:
    """Photograph a scene and ask about it; the same arguments give the same picture and questions.

    Args:
        task: whose scene.
        seed: of the scene.
        rng: decides camera, moment, and what is asked.

    Raises:
        RuntimeError: there is no OpenGL to render with.
    """
    camera = TABLETOP.cameras[0] if rng.random() < FRONT_SHARE else TABLETOP.cameras[1]
    steps = int(rng.integers(1, MOST_STEPS)) if rng.random() < LATER_SHARE else 0
    with World(task) as world:
        world.reset(seed)
        expert = Expert(world.scene)
        for _ in range(steps):
            world.step(expert.act(world.state()))
        state = world.state()
        return Photograph(
            camera,
            image=world.render(camera, TABLETOP.image_size),
            spatial=spatial_rows(state, camera, rng),
            general=general_rows(state, camera, rng),
        )
