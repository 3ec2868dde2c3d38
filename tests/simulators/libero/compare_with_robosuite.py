"""Run by LIBERO's own interpreter: our simulator beside robosuite's own steps and resets, bit for bit.

Prints one line of JSON: whether states are identical step by step, after a restored start too, and the largest
difference of the views, of 255.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from libero.libero.envs import OffScreenRenderEnv
from numpy.typing import NDArray

from thinkvla.simulators.libero.views import RENDER_SIZE
from thinkvla.simulators.libero.world import CAMERAS, World

SUITE, TASK, SEED = "libero_goal", 0, 7
STEPS = 6
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (STEPS, 7)).astype(np.float32)
ACTIONS[:, 2] = -1  # down, into things
ACTIONS[:, 6] = [1, 1, 1, 0, 0, 0]


def ours(world: World, layout: int) -> tuple[NDArray[np.float64], dict[str, Any]]:
    world.reset(SEED)
    world.restore(world.init_states()[layout])
    world.wait()
    states = []
    for action in ACTIONS:
        world.step(action, tuple(CAMERAS))
        states.append(state(world._env))
    return np.array(states), world.seen((RENDER_SIZE, RENDER_SIZE))


def theirs(environment: Any, layout: NDArray[np.float64]) -> tuple[NDArray[np.float64], dict[str, Any]]:
    environment.seed(SEED)
    environment.reset()
    environment.set_init_state(layout)
    for _ in range(10):
        environment.step([0, 0, 0, 0, 0, 0, -1])
    states = []
    for action in ACTIONS:
        command = np.append(action[:6].astype(float), -1.0 if action[6] > 0.5 else 1.0)
        seen, *_ = environment.step(command)
        states.append(state(environment))
    return np.array(states), {view: seen[f"{camera}_image"][::-1, ::-1] for view, camera in CAMERAS.items()}


def state(environment: Any) -> NDArray[np.float64]:
    data = environment.sim.data
    return np.concatenate([environment.get_sim_state(), data.xpos.ravel(), data.qacc_warmstart])


def main() -> None:
    world = World(SUITE, TASK)
    layouts = world.init_states()
    other, _ = ours(world, 1)
    mine, views = ours(world, 0)  # the first from a hard reset, this one from its restored start
    reference = OffScreenRenderEnv(
        bddl_file_name=world._tasks.get_task_bddl_file_path(TASK),
        camera_heights=RENDER_SIZE,
        camera_widths=RENDER_SIZE,
    )
    expected, expected_views = theirs(reference, layouts[0])
    expected_other, _ = theirs(reference, layouts[1])
    differences = [np.abs(views[view].astype(int) - expected_views[view]).max() for view in CAMERAS]
    print(
        json.dumps(
            {
                "reset": bool(np.array_equal(other, expected_other)),
                "restored": bool(np.array_equal(mine, expected)),
                "moved": float(np.abs(expected[-1] - expected[0]).max()),
                "views": int(max(differences)),
            }
        )
    )


if __name__ == "__main__":
    main()
