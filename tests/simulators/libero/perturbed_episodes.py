"""Run by LIBERO's own interpreter: what each axis changes of an episode's start, and what it leaves alone.

Prints one line of JSON: axis → what was found at level 2. Differences of pictures are means, of 255.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from thinkvla.perturbation import AXES, Perturbation
from thinkvla.simulators.libero.perturbations import ARM, PerturbedWorld
from thinkvla.simulators.libero.world import World

SUITE, TASK, SEED, LAYOUT, LEVEL = "libero_10", 3, 7, 1, 2
VIEWS = ("front", "wrist")


def look(world: World, layout: int = LAYOUT) -> dict[str, Any]:
    """Begin an episode, take one step, and tell what there is."""
    world.begin(SEED, layout)
    model, data = world._env.sim.model._model, world._env.sim.data._data
    start = {model.joint(number).name: data.joint(number).qpos.copy() for number in range(model.njnt)}
    fixtures = {name: model.body(f"{name}_main").pos.copy() for name in ("white_cabinet_1", "wine_rack_1")}
    world.wait(1, VIEWS)
    deepest = min((contact.dist for contact in data.contact[: data.ncon]), default=0.0)
    return {
        "start": start,
        "fixtures": fixtures,
        "hand": data.site("gripper0_grip_site").xpos.copy(),
        "views": world.seen((256, 256)),
        "instruction": world.instruction,
        "deepest": deepest,
        "done": world.succeeded(),
    }


def compare(plain: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    joints = {
        name: float(np.abs(other["start"][name] - value).max())
        for name, value in plain["start"].items()
        if not np.array_equal(other["start"][name], value)
    }
    return {
        "joints": joints,
        "arm alone": set(joints) <= set(ARM),
        "added": sorted(set(other["start"]) - set(plain["start"])),
        "fixtures stay": all(np.array_equal(plain["fixtures"][n], other["fixtures"][n]) for n in plain["fixtures"]),
        "hand": float(np.linalg.norm(other["hand"] - plain["hand"])),
        "instruction": other["instruction"],
        "deepest": other["deepest"],
        "done": other["done"],
        **{v: float(np.abs(other["views"][v].astype(float) - plain["views"][v]).mean()) for v in VIEWS},
    }


def main() -> None:
    found: dict[str, Any] = {}
    with World(SUITE, TASK) as world:
        plain = look(world)
    for axis in AXES:
        with PerturbedWorld(Perturbation(axis, LEVEL), SUITE, TASK, SEED) as world:
            first = look(world)
            found[axis] = compare(plain, first)
            look(world, LAYOUT + 1)
            same = compare(first, look(world))
            found[axis]["again"] = {key: same[key] for key in ("joints", "fixtures stay", *VIEWS)}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
