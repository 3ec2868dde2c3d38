"""Recipes by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from thinkvla.ablations import ABLATIONS
from thinkvla.recipes.bridge import bridge
from thinkvla.recipes.libero import libero
from thinkvla.recipes.libero_small import libero_small
from thinkvla.recipes.real_arm import explicit, real_arm
from thinkvla.recipes.tabletop import tabletop
from thinkvla.train.config import TrainConfig

RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "tabletop": tabletop,
    **{f"tabletop_{row.lower()}": partial(tabletop, row) for row in ABLATIONS},
    "real_r1": partial(real_arm, "R1"),
    "real_r7": partial(real_arm, "R7"),
    "real_explicit": explicit,
    "libero": libero,
    **{f"libero_{row.lower()}": partial(libero, row) for row in ABLATIONS},
    "libero_small": libero_small,
    "libero_small_r1": partial(libero_small, "R1"),
    "bridge": bridge,
}


def recipe(name: str) -> TrainConfig:
    """The recipe of that name; raises ValueError with the nearest name."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(RECIPES)}"
        raise ValueError(f"no recipe '{name}'; {hint}")
    return RECIPES[name]()
