"""Pictures of the embedded world with what a viewer could say of them: patch classes and conversations.

A moment is both views of one instant. Each of its pictures has the class of every 3 × 3 block of pixels (the shape and
the colour seen there), and there are two kinds of talk: general questions about one picture, and instructions answered
with the places of everything they name, in percent of each picture's width and height.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Image
from thinkvla.data.parallel import in_order
from thinkvla.files import new_folder
from thinkvla.pretrain.scenes import MOMENTS, Scene, training_scenes, visit
from thinkvla.progress import progress
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.questions import general_rows
from thinkvla.tabletop.questions.view import in_picture, is_seen
from thinkvla.tabletop.shapes import COLOURS, SHAPES
from thinkvla.tabletop.state import SceneState, Vector
from thinkvla.tabletop.world import World

STRIDE = 3
"""Pixels between two labelled points of a picture: 32 × 32 labels for 96 × 96 pixels."""
SHAPE_CLASSES = (*SHAPES, "table", "arm", "gripper", "background")
COLOUR_CLASSES = (*COLOURS, "none")
UNSEEN = "out of sight"
WHERE = "\nWhere in the pictures are they?"
INSTRUCTIONS = 3
"""Instructions of one moment that name its things."""
BOTH_SHARE = 0.65
"""Share of talks about all pictures."""
FRONT_SHARE = 0.7
"""Share of the front camera's pictures among talks about one picture."""
TURNS_ABOUT_BOTH, TURNS_ABOUT_ONE = 2, 4
"""Most turns of a talk about all pictures and about one: attention to long talks costs more than it teaches."""

Turns = list[tuple[str, str]]


@dataclass(frozen=True)
class Moment:
    """One instant, seen by every camera.

    Attributes:
        images: uint8 (V, H, W, 3).
        labels: uint8 (V, H / STRIDE, W / STRIDE, 2): indices into SHAPE_CLASSES and COLOUR_CLASSES.
        single: for each view, general questions and answers about it; may be empty.
        both: instructions, and the places of what they name in all views.
    """

    images: Image
    labels: NDArray[np.uint8]
    single: list[Turns]
    both: Turns


def write_pictures(folder: Path, suites: Sequence[str], scenes: int, workers: int) -> None:
    """Write ``images.npy``, ``labels.npy`` and ``talk.jsonl`` of MOMENTS moments of each of ``scenes`` scenes.

    Raises:
        ValueError: ``folder`` exists, a suite is unknown, or there are not that many seeds.
    """
    jobs = training_scenes(suites, scenes)
    size, views = TABLETOP.image_size, len(TABLETOP.cameras)
    with new_folder(folder) as partial, progress("scene") as display, (partial / "talk.jsonl").open("w") as talk:
        images = np.lib.format.open_memmap(
            partial / "images.npy", mode="w+", dtype=np.uint8, shape=(scenes * MOMENTS, views, *size, 3)
        )
        labels = np.lib.format.open_memmap(
            partial / "labels.npy",
            mode="w+",
            dtype=np.uint8,
            shape=(scenes * MOMENTS, views, size[0] // STRIDE, size[1] // STRIDE, 2),
        )
        bar = display.add_task("pictures", total=scenes)
        for number, moments in enumerate(in_order(_watch, jobs, workers)):
            for place, moment in enumerate(moments, start=number * MOMENTS):
                images[place], labels[place] = moment.images, moment.labels
                talk.write(json.dumps({"single": moment.single, "both": moment.both}) + "\n")
            display.advance(bar)
        images.flush()
        labels.flush()


def read_pictures(folder: Path) -> tuple[Image, NDArray[np.uint8], list[dict[str, Any]]]:
    """Memory-mapped images (N, V, H, W, 3) and labels (N, V, h, w, 2), and what is said of each moment.

    Raises:
        ValueError: a file is missing, or they are not of the same moments.
    """
    for name in ("images.npy", "labels.npy", "talk.jsonl"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing; make the pictures again")
    images, labels = (np.load(folder / name, mmap_mode="r") for name in ("images.npy", "labels.npy"))
    talk = [json.loads(line) for line in (folder / "talk.jsonl").read_text(encoding="utf-8").splitlines()]
    if not len(images) == len(labels) == len(talk):
        raise ValueError(f"{folder}: {len(images)} images, {len(labels)} labels, {len(talk)} talks; make it again")
    return images, labels, talk


def _watch(scene: Scene) -> list[Moment]:
    return [_moment(world, rng) for world, rng in visit(scene)]


def _moment(world: World, rng: np.random.Generator) -> Moment:
    state = world.state()
    images = np.stack([world.render(camera, TABLETOP.image_size) for camera in TABLETOP.cameras])
    single = [[(row.question, row.answer) for row in general_rows(state, c, rng)] for c in TABLETOP.cameras]
    return Moment(images, _labels(world, state), single, _instructions(state, rng))


def _labels(world: World, state: SceneState) -> NDArray[np.uint8]:
    """Classes of every labelled point, (V, h, w, 2)."""
    names = world.names(STRIDE)
    none = len(COLOUR_CLASSES) - 1
    labels = np.empty((*names.shape, 2), np.uint8)
    for name in np.unique(names):
        if name in SHAPE_CLASSES:
            classes = (SHAPE_CLASSES.index(name), none)
        else:
            thing = state.object(str(name))
            classes = (SHAPE_CLASSES.index(thing.shape), COLOUR_CLASSES.index(thing.colour))
        labels[names == name] = classes
    return labels


def _instructions(state: SceneState, rng: np.random.Generator) -> Turns:
    """Instructions about random things of the scene, answered with where the named things and the gripper are."""
    movable = [thing for thing in state.objects if thing.movable]
    fixed = [thing for thing in state.objects if not thing.movable and thing.shape != "pedestal"]
    turns = []
    for number in rng.permutation(len(movable))[:INSTRUCTIONS]:
        target, container = movable[int(number)], fixed[int(rng.integers(len(fixed)))]
        where = "on" if container.shape in ("plate", "tray") else "in"
        answer = "\n".join(
            [
                f"{target.name}: {_places(state, target.position)}",
                f"{container.name}: {_places(state, container.position)}",
                f"gripper: {_places(state, state.gripper.position, only='front')}",
            ]
        )
        turns.append((f"put the {target.name} {where} the {container.name}{WHERE}", answer))
    return turns


def _places(state: SceneState, point: Vector, only: str | None = None) -> str:
    """Column and row of a point in each picture, percent."""
    texts = []
    for camera in state.cameras:
        if only in (None, camera.name):
            seen = is_seen(camera, point)
            texts.append("{}, {}".format(*np.rint(100 * in_picture(camera, point)).astype(int)) if seen else UNSEEN)
    return "; ".join(texts)


def conversation(talk: dict[str, Any], rng: np.random.Generator) -> tuple[int | None, Turns]:
    """A talk about one moment: the view it is about (None for all views), and some of its turns."""
    view = None if rng.random() < BOTH_SHARE else int(rng.random() > FRONT_SHARE)
    turns = talk["both"] if view is None else talk["single"][view]
    if not turns:
        view, turns = None, talk["both"]
    chosen = rng.permutation(len(turns))[: TURNS_ABOUT_BOTH if view is None else TURNS_ABOUT_ONE]
    return view, [turns[int(number)] for number in chosen]
