"""LIBERO's scenes in the words of the spatial questions: what things are called, and where they are."""

from __future__ import annotations

import numpy as np

from thinkvla.simulators.libero.truth import Thing, Truth
from thinkvla.tabletop.state import CameraState, GripperState, ObjectState, SceneState

_NAMES = {
    "akita_black_bowl": "black bowl",
    "black_book": "book",
    "chefmate_8_frypan": "frying pan",
    "chefmate8_frypan": "frying pan",
    "cookies": "cookie box",
    "desk_caddy": "caddy",
    "flat_stove": "stove",
    "glazed_rim_porcelain_ramekin": "ramekin",
    "porcelain_mug": "white mug",
    "white_yellow_mug": "yellow and white mug",
}
"""Categories that instructions call otherwise."""
THINGS = (
    "alphabet soup",
    "basket",
    "bbq sauce",
    "black bowl",
    "book",
    "butter",
    "caddy",
    "chocolate pudding",
    "cookie box",
    "cream cheese",
    "frying pan",
    "ketchup",
    "microwave",
    "milk",
    "moka pot",
    "orange juice",
    "plate",
    "ramekin",
    "salad dressing",
    "stove",
    "tomato sauce",
    "white mug",
    "wine bottle",
    "wine rack",
    "wooden cabinet",
    "yellow and white mug",
)
"""What the scenes of the four suites are made of."""


def spoken_name(category: str) -> str:
    """What a category is called in an instruction."""
    return _NAMES.get(category, category.replace("_", " "))


def describe(truth: Truth, cameras: tuple[CameraState, ...]) -> SceneState:
    """The moment as questions read it, in the world frame. Things of one category share a name, and have no colour."""
    # The hand's own +x there is out of its palm, here along the fingers' travel.
    hand = truth.hand
    rotation = np.stack([hand.rotation[:, 2], hand.rotation[:, 0], hand.rotation[:, 1]], axis=1)
    gripper = GripperState(hand.position, rotation, hand.opening)
    objects = tuple(_object(thing) for thing in truth.things if not thing.part)
    return SceneState(objects, gripper, cameras)


def absent_names(state: SceneState) -> list[str]:
    """Things of other scenes that this one has not."""
    return [name for name in THINGS if all(thing.name != name for thing in state.objects)]


def _object(thing: Thing) -> ObjectState:
    name = spoken_name(thing.category)
    return ObjectState(
        name=name,
        shape=name,
        colour="",
        position=thing.centre,
        rotation=thing.rotation,
        half_size=(thing.high - thing.low) / 2,
        has_front=False,
        movable=thing.movable,
    )
