"""Demonstrations: the expert's corrections along its own, disturbed, path.

What is executed is the expert's action plus noise; what is recorded is the expert's clean action for each state
visited. So the data hold states off the perfect path together with the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Actions, Image
from thinkvla.tabletop.disturbance import Disturbance, NoiseSpec
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.expert import OPEN, Expert, grasp
from thinkvla.tabletop.state import SceneState
from thinkvla.tabletop.world import World

POINT_MAP_STRIDE = 4
"""Pixels between two points of a recorded point map: 24 × 24 points for a 96 × 96 image."""


NO_NOISE = NoiseSpec(jitter=0.0, burst=0.0, burst_rate=0.0, burst_steps=0, drop_rate=0.0)


@dataclass(frozen=True)
class Episode:
    """A demonstration of T steps; row t of everything belongs to the moment before action t.

    Attributes:
        suite: suite of the task.
        task: name of the task.
        seed: seed of the scene and of the noise.
        instruction: what the robot was told.
        images: camera → uint8 (T, H, W, 3).
        actions: float32 (T, 7), the expert's clean actions.
        point_maps: float16 (T, V, H / 4, W / 4, 3), metres in the base frame, views in the embodiment's order.
        states: ground truth of each step.
        success: whether the task was done at the end.
        slips: how often the object was held and then lost outside its container.
    """

    suite: str
    task: str
    seed: int
    instruction: str
    images: Mapping[str, Image]
    actions: Actions
    point_maps: NDArray[np.float16]
    states: tuple[SceneState, ...]
    success: bool
    slips: int


def record_episode(world: World, seed: int, noise: NoiseSpec) -> Episode:
    """Let the expert act from a seed until the task is done or its steps are used up; same arguments, same episode."""
    disturbance = Disturbance(noise, world.task.rng(seed, stream=1), TABLETOP, OPEN)
    images: dict[str, list[Image]] = {camera: [] for camera in TABLETOP.cameras}
    actions: list[Actions] = []
    point_maps: list[NDArray[np.float16]] = []
    states: list[SceneState] = []
    slips, was_held, success = 0, False, False
    world.reset(seed)
    expert = Expert(world.scene)
    while not success and len(actions) < world.task.max_steps:
        state = world.state()
        for camera, image in world.observe().images.items():
            images[camera].append(image)
        point_maps.append(world.point_maps(POINT_MAP_STRIDE).astype(np.float16))
        states.append(state)
        action = expert.act(state)
        actions.append(action)
        held = grasp(state, world.scene.target).held
        slips += was_held and not held and action[6] == OPEN and not expert.delivered(state)
        was_held = held
        world.step(disturbance.apply(action, held))
        success = world.succeeded()
    return Episode(
        suite=world.task.suite,
        task=world.task.name,
        seed=seed,
        instruction=world.scene.instruction,
        images={camera: np.stack(frames) for camera, frames in images.items()},
        actions=np.stack(actions),
        point_maps=np.stack(point_maps),
        states=tuple(states),
        success=success,
        slips=slips,
    )
