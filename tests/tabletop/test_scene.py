from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from thinkvla.tabletop.scene import CameraSpec, LightSpec, RobotStart, SceneSpec, SensorSpec, ThingSpec, build_model
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.shapes import COLLISION_ONLY_GROUP, COLOURS, SHAPES
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.world import World

NO_GOAL = ("", "", "")


def extent(thing: ThingSpec) -> np.ndarray:
    """Largest coordinates (3,) of the drawn thing in its own frame, from its primitives' corners and rims."""
    model = build_model(SceneSpec((thing,), *NO_GOAL))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    body = data.body(thing.name)
    largest = np.zeros(3)
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] != model.body(thing.name).id or model.geom_group[geom] == COLLISION_ONLY_GROUP:
            continue
        rotation = body.xmat.reshape(3, 3).T @ data.geom_xmat[geom].reshape(3, 3)
        centre = body.xmat.reshape(3, 3).T @ (data.geom_xpos[geom] - body.xpos)
        size, kind = model.geom_size[geom], model.geom_type[geom]
        if kind == mujoco.mjtGeom.mjGEOM_BOX:
            reach = np.abs(rotation) @ size
        elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
            reach = np.full(3, size[0])
        else:
            across = (
                size[0] * np.sqrt(np.maximum(1 - rotation[:, 2] ** 2, 0))
                if kind == mujoco.mjtGeom.mjGEOM_CYLINDER
                else size[0]
            )
            reach = size[1] * np.abs(rotation[:, 2]) + across
        largest = np.maximum(largest, np.abs(centre) + reach)
    return largest


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1.0, 1.3])
def test_half_sizes_are_those_of_the_drawn_bounding_box(shape: str, size: float) -> None:
    thing = ThingSpec(shape, "red", 0.45, 0.0, yaw=0.4, size=size)
    np.testing.assert_allclose(extent(thing), np.array(SHAPES[shape].half_size) * size, atol=0.0015 * size)


@pytest.mark.parametrize("shape", SHAPES)
def test_things_stand_on_the_table_or_on_what_is_asked_for(shape: str) -> None:
    for base in (0.0, 0.05):
        model = build_model(SceneSpec((ThingSpec(shape, "red", 0.45, 0.1, base=base),), *NO_GOAL))
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        position = data.body(f"red {shape}").xpos
        np.testing.assert_allclose(position, [0.45, 0.1, base + SHAPES[shape].half_size[2]], atol=1e-9)


def test_a_pedestal_is_as_high_as_asked_for() -> None:
    pedestal = ThingSpec("pedestal", "brown", 0.45, 0.0, height=0.11)
    np.testing.assert_allclose(extent(pedestal), [0.046, 0.046, 0.055], atol=1e-6)
    assert pedestal.top == pytest.approx(0.11)


def test_colours_are_well_apart() -> None:
    values = np.array(list(COLOURS.values()))
    distances = np.linalg.norm(values[:, None] - values[None], axis=-1)
    assert distances[~np.eye(len(values), dtype=bool)].min() > 0.3


def test_wrong_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown shape 'pyramid'"):
        build_model(SceneSpec((ThingSpec("pyramid", "red", 0.4, 0),), *NO_GOAL))
    with pytest.raises(ValueError, match="unknown colour 'mauve'"):
        build_model(SceneSpec((ThingSpec("cube", "mauve", 0.4, 0),), *NO_GOAL))
    with pytest.raises(ValueError, match="thing 'red cube': height is for pedestals"):
        build_model(SceneSpec((ThingSpec("cube", "red", 0.4, 0, height=0.1),), *NO_GOAL))
    with pytest.raises(ValueError, match="two things are called 'red cube'"):
        build_model(SceneSpec((ThingSpec("cube", "red", 0.4, 0), ThingSpec("cube", "red", 0.5, 0)), *NO_GOAL))


def views(scene: SceneSpec) -> np.ndarray:
    """Both cameras' pictures of a scene's start, int (2, 96, 96, 3)."""
    task = suite("object")[0]
    with World(replace(task, sample=lambda *_: scene)) as world:
        world.reset(0)
        np.testing.assert_allclose(world.state().gripper.position, scene.robot.position, atol=0.002)
        return np.stack(list(world.observe().images.values())).astype(int)


def test_every_field_of_a_scene_reaches_the_simulator() -> None:
    # From over the table's near edge the hand sees past it, where the background shows.
    plain = replace(suite("object")[0].scene(0), robot=RobotStart((0.60, 0.1, 0.3)))
    variants = [
        replace(plain, front=CameraSpec((1.0, 0.3, 0.7), (0.4, 0, 0.1), (0, 0, 1), 50.0)),
        replace(plain, wrist=replace(plain.wrist, fovy=50.0)),
        replace(plain, lights=(LightSpec((0.5, 0.5, -1), (0.3, 0.3, 0.3)),)),
        replace(plain, ambient=0.1),
        replace(plain, table=(0.2, 0.4, 0.3)),
        replace(plain, checker=(0.2, 0.3, 0.3)),
        replace(plain, sensor=SensorSpec(noise=0.1)),
        replace(plain, sensor=SensorSpec(blur=0.02)),
        replace(plain, sensor=SensorSpec(exposure=0.5)),
        replace(plain, sensor=SensorSpec(dead=0.01)),
        replace(plain, background=((0.2, 0.1, 0.1), (0.1, 0.1, 0.2))),
        replace(plain, robot=RobotStart((0.45, 0.1, 0.2), yaw=0.3)),
        replace(plain, things=(replace(plain.things[0], alpha=0.4), *plain.things[1:])),
    ]
    before = views(plain)
    for scene in variants:
        assert np.abs(views(scene) - before).max() > 20


def test_training_and_test_seeds_never_meet() -> None:
    training, test = seeds("training"), seeds("test")
    assert len(training) == 100_000
    assert len(test) == 10_000
    assert training.stop <= test.start
