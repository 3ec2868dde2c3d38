"""Run by the environment's own interpreter, with the assets as its argument: one task looked at closely.

Prints one line of JSON: whether episodes repeat to the last bit, how far the controller's target is from the original's
rule, where things rest, what the view shows, and how the expert does.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.simulators.simpler.actions import from_quaternion, from_roll_pitch_yaw
from thinkvla.simulators.simpler.assets import prepare_assets
from thinkvla.simulators.simpler.direct import run_expert
from thinkvla.simulators.simpler.tasks import TASKS
from thinkvla.simulators.simpler.views import resized
from thinkvla.simulators.simpler.world import World

RNG = np.random.default_rng(0)
ACTIONS = np.column_stack([RNG.uniform(-0.02, 0.02, (3, 3)), RNG.uniform(-0.3, 0.3, (3, 3)), [1.0, 0.0, 1.0]]).astype(
    np.float32
)


def play(world: World, layout: int) -> NDArray[np.float64]:
    world.reset(layout)
    states = [world.state().to_vector()]
    for action in ACTIONS:
        world.step(action)
        states.append(world.state().to_vector())
    return np.array(states)


def away_from_the_rule(world: World) -> tuple[float, float]:
    """Metres and radians between the controller's target after a step and p' = c + Δ + R (p − c), R q."""
    world.reset(0)
    world.step(ACTIONS[0])  # the hand has not arrived: c and p differ
    before = world.state()
    world.step(ACTIONS[1])
    after = world.state().target
    turn = from_roll_pitch_yaw(ACTIONS[1, 3:6])
    place = before.hand.position + ACTIONS[1, :3] + turn @ (before.target.position - before.hand.position)
    rest = (turn @ before.target.rotation).T @ from_quaternion(after.quaternion)
    return (
        float(np.linalg.norm(after.position - place)),
        float(np.arccos(np.clip((np.trace(rest) - 1) / 2, -1, 1))),
    )


def area_mean(view: NDArray[Any], size: int) -> NDArray[np.float64]:
    """(size, size, 3) every cell's mean, parts of pixels counted by their area: a reference in float64."""

    def weights(length: int) -> NDArray[np.float64]:
        edges = np.linspace(0, length, size + 1)
        left, right = edges[:-1, None], edges[1:, None]
        pixel = np.arange(length)
        overlap = np.minimum(right, pixel + 1) - np.maximum(left, pixel)
        share: NDArray[np.float64] = np.clip(overlap, 0, None) / (right - left)
        return share

    height, width, _ = view.shape
    mean: NDArray[np.float64] = np.einsum(
        "ih,hwc,jw->ijc", weights(height), view.astype(np.float64), weights(width), optimize=True
    )
    return mean


def main() -> None:
    assets = prepare_assets(Path(sys.argv[1]))
    world = World(TASKS["carrot"], assets)
    first = play(world, 0)
    play(world, 5)
    again = play(world, 0)
    metres, radians = away_from_the_rule(world)
    world.reset(0)
    rest, view = world.state(), world.image()
    difference = np.abs(resized(view, (224, 224)) - area_mean(view, 224)).max()
    orange = (view[..., 0] > 180) & (view[..., 2] < 80) & (view[..., 1] < 150)
    world.close()
    (episode,) = run_expert(TASKS["carrot"], assets, range(1), 30)
    print(
        json.dumps(
            {
                "table": assets.table,
                "repeats": bool(np.array_equal(first, again)),
                "metres": metres,
                "radians": radians,
                "plate": float(rest.goal.position[2]),
                "view": [*view.shape, str(view.dtype)],
                "carrot": int(orange.sum()),
                "resizing": float(difference),
                "expert": asdict(episode),
            }
        )
    )


if __name__ == "__main__":
    main()
