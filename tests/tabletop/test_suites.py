"""The suites beside ``object``: spatial, height, height_heldout and transparent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkvla.tabletop.placement import AREA, GAP, RAISED_GAP
from thinkvla.tabletop.scene import RobotStart, SceneSpec, ThingSpec
from thinkvla.tabletop.shapes import SHAPES
from thinkvla.tabletop.suites import EVALUATION_ONLY, suite
from thinkvla.tabletop.suites.height import HEIGHTS, HELD_OUT_HEIGHTS
from thinkvla.tabletop.suites.relations import BETWEEN_TWO, MARGIN
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World

NAMES = ("spatial", "height", "height_heldout", "transparent")
NEW = tuple(task for name in NAMES for task in suite(name))
SPATIAL = re.compile(
    r"put the (?P<target>\w+)(?P<first> .+?)? (?:on|in) the (?P<container>plate|bowl|tray|box)(?P<second> .+)?"
)
RELATION = re.compile(r" (?P<words>left of|right of|in front of|behind|nearest to|farthest from|between) (?P<rest>.+)")
ANY_TASK = st.sampled_from(NEW)
ANY_SEED = st.integers(0, 2_000_000)


def pedestal_under(thing: ThingSpec, scene: SceneSpec) -> ThingSpec | None:
    for other in scene.things:
        if other.shape == "pedestal" and (other.x, other.y) == (thing.x, thing.y):
            return other
    return None


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_has_ten_different_tasks(name: str) -> None:
    tasks = suite(name)
    scenes = [task.scene(0) for task in tasks]
    assert {task.suite for task in tasks} == {name}
    assert len(tasks) == len({task.name for task in tasks}) == len({scene.instruction for scene in scenes}) == 10
    assert len({scene.target.split()[1] for scene in scenes}) == 5
    assert len({scene.container.split()[1] for scene in scenes}) >= 3


@settings(max_examples=150, deadline=None)
@given(ANY_TASK, ANY_SEED)
def test_scenes_are_clear_and_repeatable(task: Task, seed: int) -> None:
    scene = task.scene(seed)
    assert task.scene(seed) == scene
    names = [thing.name for thing in scene.things]
    assert len(names) == len(set(names))
    by_name = {thing.name: thing for thing in scene.things}
    assert by_name[scene.target].kind.movable
    assert by_name[scene.container].kind.floor > 0
    standing = [thing for thing in scene.things if thing.shape != "pedestal"]
    assert len(standing) == 6
    assert sum(thing.kind.floor > 0 for thing in standing) == 2
    for index, one in enumerate(standing):
        below = pedestal_under(one, scene)
        assert one.base == (0 if below is None else below.height)
        assert below is None or below.colour != one.colour
        assert AREA[0][0] <= one.x <= AREA[0][1]
        assert AREA[1][0] <= one.y <= AREA[1][1]
        for other in standing[:index]:
            low = one.base == other.base == 0
            apart = np.hypot(one.x - other.x, one.y - other.y)
            assert apart >= one.radius + other.radius + (GAP if low else RAISED_GAP)


def test_every_thing_is_seen_at_the_start() -> None:
    for task in NEW[::3]:
        with World(task) as world:
            world.reset(40_000)
            seen = world.names(2)[0]
            for thing in world.scene.things:
                assert thing.shape == "pedestal" or (seen == thing.name).any(), (task.suite, task.name, thing.name)


def fulfils(words: str, one: ThingSpec, others: Sequence[ThingSpec], references: Sequence[ThingSpec]) -> bool:
    """Whether a relation is true of a thing by the published margins, worked out anew."""
    here = np.array([one.x, one.y])
    there = [np.array([reference.x, reference.y]) for reference in references] or [np.zeros(2)]
    if words in ("nearest to", "farthest from"):
        sign = 1 if words == "nearest to" else -1
        own = sign * np.linalg.norm(here - there[0])
        return all(sign * np.hypot(*(np.array([o.x, o.y]) - there[0])) >= own + 0.06 - 1e-9 for o in others)
    if words == "between":
        a, way = there[0], there[1] - there[0]
        along = (here - a) @ way / (way @ way)
        return bool(0.3 <= along <= 0.7) and bool(np.linalg.norm(here - a - along * way) <= 0.035 + 1e-9)
    axis, sign = {"left of": (1, -1), "right of": (1, 1), "in front of": (0, 1), "behind": (0, -1)}[words]
    return bool(sign * (here - there[0])[axis] >= 0.06 - 1e-9)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(suite("spatial")), ANY_SEED)
def test_a_relation_singles_out_one_thing(task: Task, seed: int) -> None:
    scene = task.scene(seed)
    said = SPATIAL.fullmatch(scene.instruction)
    assert said is not None
    assert not set(scene.instruction.split()) & {thing.colour for thing in scene.things}
    meant, shape = (scene.target, said["target"]) if said["first"] is not None else (scene.container, said["container"])
    relation = RELATION.fullmatch(said["first"] or said["second"])
    assert relation is not None
    references = [thing for word in relation["rest"].split() for thing in scene.things if thing.shape == word]
    assert len(references) == len(relation["rest"].replace("robot", "").replace("the ", "").split(" and ")) or (
        relation["rest"] == "the robot"
    )
    assert not any(SHAPES[reference.shape].has_front for reference in references)
    candidates = [thing for thing in scene.things if thing.shape == shape]
    assert 2 <= len(candidates) <= 3
    for one in candidates:
        others = [other for other in candidates if other is not one]
        assert fulfils(relation["words"], one, others, references) is (one.name == meant)
    for wanted, name in (("target", scene.target), ("container", scene.container)):
        assert name.split()[1] == said[wanted]
        alike = [thing for thing in scene.things if thing.shape == said[wanted]]
        assert len(alike) == 1 or alike == candidates


@pytest.mark.parametrize("seed", range(5))
def test_left_and_right_are_the_pictures(seed: int) -> None:
    for task, side in zip(suite("spatial")[:2], (-1, 1), strict=True):
        with World(task) as world:
            world.reset(seed)
            state = world.state()
        ball = next(thing for thing in state.objects if thing.shape == "ball")
        columns = {o.name: state.camera("front").project(o.position)[0] for o in state.objects}
        for cube in (o for o in state.objects if o.shape == "cube"):
            assert bool(side * (columns[cube.name] - columns[ball.name]) > 0) is (cube.name == world.scene.target)


def test_an_unclear_relation_chooses_none() -> None:
    ball, cylinder = ThingSpec("ball", "red", 0.4, -0.2), ThingSpec("cylinder", "red", 0.4, 0.2)
    middle, away = ThingSpec("cube", "red", 0.4, 0.0), ThingSpec("cube", "blue", 0.55, 0.0)
    assert BETWEEN_TWO.choose([middle, away], [ball, cylinder]) is middle
    assert BETWEEN_TWO.choose([middle, replace(away, x=0.45)], [ball, cylinder]) is None
    assert BETWEEN_TWO.choose([away, replace(away, y=0.1)], [ball, cylinder]) is None
    assert BETWEEN_TWO.choose([middle, replace(middle, y=0.05)], [ball, cylinder]) is None
    left = suite("spatial")[0].scene(0)
    assert MARGIN == 0.06
    assert left.instruction == "put the cube left of the ball on the plate"


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(range(10)), ANY_SEED)
def test_held_out_heights_never_meet_training_heights(number: int, seed: int) -> None:
    for name, ranges, others in (
        ("height", HEIGHTS, HELD_OUT_HEIGHTS),
        ("height_heldout", HELD_OUT_HEIGHTS, HEIGHTS),
    ):
        scene = suite(name)[number].scene(seed)
        pedestals = [thing.height for thing in scene.things if thing.shape == "pedestal"]
        assert 2 <= len(pedestals) <= 3
        for height in pedestals:
            assert height is not None
            assert any(low <= height <= high for low, high in ranges)
            assert not any(low - 0.0099 <= height <= high + 0.0099 for low, high in others)
        by_name = {thing.name: thing for thing in scene.things}
        assert by_name[scene.target].base > 0 or by_name[scene.container].base > 0


def test_held_out_heights_come_with_the_same_instructions() -> None:
    told = [[task.scene(0).instruction for task in suite(name)] for name in ("height", "height_heldout")]
    assert told[0] == told[1]
    assert EVALUATION_ONLY == ("height_heldout",)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(suite("transparent")), ANY_SEED)
def test_a_clear_container_stands_beside_an_opaque_one_of_its_shape(task: Task, seed: int) -> None:
    scene = task.scene(seed)
    containers = [thing for thing in scene.things if thing.kind.floor]
    assert len({thing.shape for thing in containers}) == 1
    assert sorted(thing.colour == "clear" for thing in containers) == [False, True]
    assert all((thing.alpha < 1) is (thing.colour == "clear") for thing in scene.things)


def test_both_kinds_of_container_are_asked_for() -> None:
    asked = [task.scene(0).container.startswith("clear") for task in suite("transparent")]
    assert 4 <= sum(asked) <= 6


def always(scene: SceneSpec) -> Task:
    """A task whose every scene is this one."""
    return Task("test", "always", lambda rng: scene)


@pytest.mark.parametrize("colour", ["clear", "blue"])
def test_a_thing_behind_a_clear_wall_shows_through(colour: str) -> None:
    clear = next(thing.alpha for thing in suite("transparent")[0].scene(0).things if thing.colour == "clear")
    box = ThingSpec("box", colour, 0.45, 0.0, alpha=clear if colour == "clear" else 1.0)
    shades = []
    for x in (0.487, 0.437):  # close behind the wall that faces the camera, and away from it
        cube = ThingSpec("cube", "red", x, 0.0, base=0.006)
        scene = SceneSpec((box, cube), "", cube.name, box.name, robot=RobotStart((0.30, 0.30, 0.30)))
        with World(always(scene)) as world:
            world.reset(0)
            column, row, _ = world.state().camera("front").project(np.array([0.507, 0.0, 0.012]))
            shades.append(world.render("front", (96, 96))[int(row), int(column)].astype(int))
    reddens = (shades[0] - shades[1]) @ [2, -1, -1]
    assert reddens > 50 if colour == "clear" else abs(reddens) < 5


def put(world: World, name: str, position: np.ndarray) -> None:
    """Move an object there and let it come to rest."""
    now = world._now
    joint = now.data.joint(int(now.model.body(name).jntadr[0]))
    joint.qpos[:3], joint.qvel[:] = position, 0
    for _ in range(12):
        world.step(np.zeros(7))


@pytest.mark.parametrize("task", suite("height")[:6], ids=lambda task: task.name)
def test_only_the_container_on_its_pedestal_counts(task: Task) -> None:
    with World(task) as world:
        seed = next(s for s in range(100) if _raised_apart(task.scene(s)))
        world.reset(seed)
        state, scene = world.state(), world.scene
        thing, container = state.object(scene.target), state.object(scene.container)
        below = pedestal_under(next(spec for spec in scene.things if spec.name == scene.target), scene)
        assert below is not None
        rest = thing.half_size[2] + 0.005
        put(world, scene.target, np.array([below.x, below.y, below.top + rest]))
        assert not world.succeeded()
        put(world, scene.target, np.add(container.position, [0, 0, rest]))
        assert world.succeeded()
        assert "table" not in world.contacts().touched_by(scene.target)


def _raised_apart(scene: SceneSpec) -> bool:
    by_name = {thing.name: thing for thing in scene.things}
    return by_name[scene.target].base > 0 and by_name[scene.container].base > 0
