from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkvla.tabletop.placement import AREA, GAP
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.tasks import Contacts, Task, solved
from thinkvla.tabletop.world import World

TASKS = suite("object")


def put(world: World, name: str, position: np.ndarray, steps: int = 8) -> None:
    """Move an object there and let the world go on for a while."""
    now = world._now
    joint = now.data.joint(int(now.model.body(name).jntadr[0]))
    joint.qpos[:3], joint.qvel[:] = position, 0
    mujoco.mj_forward(now.model, now.data)
    for _ in range(steps):
        world.step(np.zeros(7))


def test_the_suite_has_ten_different_tasks() -> None:
    assert len(TASKS) == 10
    scenes = [task.scene(0) for task in TASKS]
    assert len({task.name for task in TASKS}) == len({scene.instruction for scene in scenes}) == 10
    assert len({scene.target for scene in scenes}) >= 6
    assert len({scene.container for scene in scenes}) >= 4


def test_an_unknown_suite_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="unknown suite 'objects': did you mean 'object'"):
        suite("objects")
    with pytest.raises(ValueError, match=r"expected one of \["):
        suite("zzz")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TASKS), st.integers(0, 2_000_000))
def test_scenes_are_clear_and_need_the_instruction(task: Task, seed: int) -> None:
    scene = task.scene(seed)
    names = [thing.name for thing in scene.things]
    assert len(names) == len(set(names)) == 6
    assert {scene.target, scene.container} <= set(names)
    assert sum(not thing.kind.movable for thing in scene.things) == 2
    likeness = set(scene.target.split())
    assert any(likeness & set(name.split()) for name in names if name not in (scene.target, scene.container))
    for i, one in enumerate(scene.things):
        assert AREA[0][0] <= one.x <= AREA[0][1]
        assert AREA[1][0] <= one.y <= AREA[1][1]
        for other in scene.things[:i]:
            apart = np.hypot(one.x - other.x, one.y - other.y)
            assert apart >= one.kind.radius + other.kind.radius + GAP
    assert task.scene(seed) == scene


def test_tasks_and_seeds_have_scenes_of_their_own() -> None:
    assert TASKS[0].scene(0) != TASKS[0].scene(1)
    assert TASKS[0].scene(0).robot != TASKS[1].scene(0).robot


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_thing_set_down_in_its_container_is_a_success(task: Task) -> None:
    with World(task) as world:
        world.reset(3)
        state = world.state()
        thing, place = state.object(world.scene.target), state.object(world.scene.container)
        put(world, world.scene.target, np.add(place.position, [0, 0, thing.half_size[2] + 0.01]), steps=12)
        assert world.succeeded()


def hovering(world: World, above: np.ndarray) -> None:
    put(world, world.scene.target, np.add(above, [0, 0, 0.08]), steps=0)


def in_the_wrong_container(world: World, above: np.ndarray) -> None:
    containers = [thing for thing in world.state().objects if not thing.movable]
    wrong = next(thing for thing in containers if thing.name != world.scene.container)
    put(world, world.scene.target, np.add(wrong.position, [0, 0, 0.03]))


def falling(world: World, above: np.ndarray) -> None:
    put(world, world.scene.target, np.add(above, [0, 0, 0.05]), steps=1)


def beside_it(world: World, above: np.ndarray) -> None:
    put(world, world.scene.target, np.array([0.3, 0.3, 0.03]))


@pytest.mark.parametrize("situation", [hovering, in_the_wrong_container, falling, beside_it])
def test_near_misses_are_no_success(situation: Callable[[World, np.ndarray], None]) -> None:
    with World(TASKS[0]) as world:
        world.reset(5)
        situation(world, world.state().object(world.scene.container).position)
        assert not world.succeeded()


@pytest.mark.parametrize(
    ("touching", "speed", "done"),
    [
        ({"blue plate"}, 0.0, True),
        ({"blue plate", "gripper"}, 0.0, False),
        ({"blue plate", "arm"}, 0.0, False),
        ({"blue plate", "table"}, 0.0, False),
        ({"blue plate", "green ball"}, 0.0, True),
        ({"green ball"}, 0.0, False),
        (set(), 0.0, False),
        ({"blue plate"}, 0.2, False),
    ],
)
def test_success_needs_the_container_alone_to_carry_a_thing_at_rest(
    touching: set[str], speed: float, done: bool
) -> None:
    with World(TASKS[0]) as world:
        world.reset(5)
        scene, state = world.scene, world.state()
    state.object(scene.target).position[:] = state.object("blue plate").position
    pairs = frozenset(frozenset({scene.target, other}) for other in touching)
    assert solved(scene, state, Contacts(pairs, {scene.target: speed})) is done
