"""Run by LIBERO's own interpreter: the points of an evaluation, and hard resets with a seed that comes back.

Prints one line of JSON: how far points of an observation are from those that demonstrations have of the same moment and
from where things are, whether views are the same with points as without, and for tasks with fixtures whether a seed
gives one scene.
"""

from __future__ import annotations

import json
from typing import Any

import anyio
import numpy as np
from numpy.typing import NDArray

from thinkvla.evaluate.wire import decode_observation
from thinkvla.simulators.libero.benchmark import LiberoBenchmark
from thinkvla.simulators.libero.world import World

SIZE, POINTS = (96, 96), (24, 24)
WITH_FIXTURES = (("libero_goal", 0), ("libero_10", 3))
SEEDS = (7, 8, 7)


def first_observation(**params: Any) -> tuple[LiberoBenchmark, Any]:
    benchmark = LiberoBenchmark("libero_object", image_size=SIZE, **params)
    task = benchmark.get_tasks()[1]

    async def begin() -> dict[str, Any]:
        await benchmark.start_episode({**task, "episode_idx": 0})
        message: dict[str, Any] = await benchmark.get_observation()
        return message

    return benchmark, decode_observation(anyio.run(begin))


def points() -> dict[str, Any]:
    plain, without = first_observation()
    benchmark, seen = first_observation(point_map_size=POINTS)
    plain.cleanup()  # one simulator's end must not be the end of another's pictures
    seen.check(benchmark.embodiment)
    world = benchmark._running()
    _, demonstrated = world.render_with_points(SIZE, SIZE[0] // POINTS[0])
    behind = np.stack([seen.point_maps[view] for view in benchmark.embodiment.cameras])
    # A sampled view is 2 ms older than the step's end; hands and things have hardly moved.
    apart = np.linalg.norm(behind - demonstrated, axis=-1)
    found = {
        "same views": all(np.array_equal(seen.images[view], without.images[view]) for view in seen.images),
        "apart": float(np.median(apart)),
        "floor": float(np.median(np.abs(behind[0, 20:, 10:14, 2]))),
    }
    benchmark.cleanup()
    return found


def scene(world: World) -> NDArray[np.float64]:
    """Where everything is, fixtures of the model too."""
    model, data = world._env.sim.model._model, world._env.sim.data._data
    return np.concatenate([data.qpos, model.body_pos.ravel(), model.body_quat.ravel()])


def resets(suite: str, number: int) -> dict[str, bool]:
    made = []
    with World(suite, number, rendering=False) as world:
        for seed in SEEDS:
            world.reset(seed)
            made.append(scene(world))
    first, other, again = made
    return {"same again": np.array_equal(first, again), "other": not np.array_equal(first, other)}


def main() -> None:
    found = points() | {suite: resets(suite, number) for suite, number in WITH_FIXTURES}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
