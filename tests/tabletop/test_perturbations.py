from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import fields, replace

import mujoco
import numpy as np
import pytest

from thinkvla.tabletop.clutter import CLOSE, COMMON_SHIFT, WIDER
from thinkvla.tabletop.control import WORKSPACE, hand_yaw
from thinkvla.tabletop.expert import Expert
from thinkvla.tabletop.imaging import expose
from thinkvla.tabletop.perturbations import AXES, LEVELS, Perturbation, perturbed
from thinkvla.tabletop.placement import AREA, RAISED_AREA
from thinkvla.tabletop.rewording import reword
from thinkvla.tabletop.scene import FRONT, RobotStart, SceneSpec, SensorSpec, build_model
from thinkvla.tabletop.sensing import read_camera
from thinkvla.tabletop.shapes import COLOURS, SHAPES
from thinkvla.tabletop.state import CameraState
from thinkvla.tabletop.suites import SUITES, suite
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World

CHANGES = {
    "camera": {"front"},
    "robot": {"robot"},
    "language": {"instruction"},
    "light": {"lights", "ambient"},
    "background": {"table", "checker", "background"},
    "noise": {"sensor"},
    "layout": {"things"},
}
GROWTH = 1.25
"""At least so many times as strong is each level as the one before, on average."""
WHOLE_WORKSPACE = np.array(
    [
        (x, y, z)
        for area, heights in ((AREA, (0.0, 0.05)), (RAISED_AREA, (0.0, 0.17)))
        for x in area[0]
        for y in area[1]
        for z in heights
    ]
)
"""(16, 3) corners of where things stand, up to their tops."""


def scenes(task: Task, seed: int, axis: str) -> list[SceneSpec]:
    """The plain scene and those of the three levels."""
    return [task.scene(seed), *(perturbed(task, Perturbation(axis, level)).scene(seed) for level in LEVELS)]


def front_camera(scene: SceneSpec) -> CameraState:
    model = build_model(replace(scene, things=()))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return read_camera(model, data, "front", (96, 96))


def picture(scene: SceneSpec) -> np.ndarray:
    """Both views of the start, float (2, 96, 96, 3)."""
    with World(Task("any", "any", lambda rng: scene)) as world:
        world.reset(0)
        return np.stack(list(world.observe().images.values())).astype(float)


def every_task() -> Iterator[Task]:
    for tasks in SUITES.values():
        yield from tasks


def strength(axis: str, plain: SceneSpec, scene: SceneSpec) -> float:
    """How far a perturbed scene is from the plain one, in a unit of the axis' own."""
    if axis == "camera":  # pixels by which the workspace moves in the picture
        return float(
            np.abs(np.subtract(*(front_camera(s).project(WHOLE_WORKSPACE)[:, :2] for s in (plain, scene)))).mean()
        )
    if axis == "robot":  # metres
        return float(np.linalg.norm(np.subtract(scene.robot.position, plain.robot.position)))
    if axis == "language":  # words that differ
        old, new = plain.instruction.split(), scene.instruction.split()
        blocks = difflib.SequenceMatcher(None, old, new).get_matching_blocks()
        return len(old) + len(new) - 2 * sum(block.size for block in blocks)
    if axis == "layout":  # things added, and metres that things moved
        moved = [np.hypot(a.x - b.x, a.y - b.y) for a, b in zip(plain.things, scene.things, strict=False)]
        return len(scene.things) - len(plain.things) + float(np.mean(moved))
    return float(np.abs(picture(scene) - picture(plain)).mean())  # light, background, noise: of 255


@pytest.mark.parametrize("axis", AXES)
def test_each_level_is_clearly_stronger_than_the_one_before(axis: str) -> None:
    levels = []
    for number, task in enumerate(suite("object")[:8]):
        plain, *changed = scenes(task, number, axis)
        levels.append([strength(axis, plain, scene) for scene in changed])
    weak, middle, strong = np.mean(levels, axis=0)
    assert weak > 0
    assert middle > GROWTH * weak
    assert strong > GROWTH * middle
    if axis not in ("language", "light", "background"):
        assert (np.diff(levels, axis=1) > 0).all(), "in every single episode"


@pytest.mark.parametrize("axis", AXES)
def test_a_perturbation_is_a_function_of_task_seed_axis_and_level_and_changes_nothing_else(axis: str) -> None:
    task = suite("object")[2]
    first, again = scenes(task, 5, axis), scenes(task, 5, axis)
    assert first == again
    for scene in first[1:]:
        differing = {
            field.name for field in fields(scene) if getattr(scene, field.name) != getattr(first[0], field.name)
        }
        assert differing
        assert differing <= CHANGES[axis]
    others = [perturbed(task, Perturbation(axis, 1)).scene(seed) for seed in range(6, 12)]
    for name in sorted(CHANGES[axis] - {"checker"}):
        assert any(getattr(other, name) != getattr(first[1], name) for other in others)


def test_no_perturbation_is_the_task_itself() -> None:
    assert perturbed(suite("object")[0], None) is suite("object")[0]


@pytest.mark.parametrize(
    ("axis", "level", "words"),
    [
        ("camra", 1, r"unknown perturbation 'camra': did you mean 'camera'\? expected one of \['camera', 'robot'"),
        ("xyz", 1, r"unknown perturbation 'xyz': expected one of"),
        ("light", 0, r"perturbation 'light': level is 0; expected one of \[1, 2, 3\]"),
        ("light", 4, "level is 4"),
    ],
)
def test_unknown_axes_and_levels_are_refused(axis: str, level: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Perturbation(axis, level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_whole_workspace_stays_in_the_moved_cameras_picture(level: int) -> None:
    for seed in range(60):
        task = suite("object")[seed % 10]
        camera = front_camera(perturbed(task, Perturbation("camera", level)).scene(seed))
        columns_rows = camera.project(WHOLE_WORKSPACE)[:, :2]
        assert (columns_rows > 0.5).all()
        assert (columns_rows < 95.5).all()


def test_the_moved_camera_keeps_to_its_bounds() -> None:
    for seed in range(40):
        front = perturbed(suite("object")[0], Perturbation("camera", 3)).scene(seed).front
        assert np.linalg.norm(np.subtract(front.target, FRONT.target)) <= 0.03 + 1e-9
        arms = [np.subtract(camera.position, camera.target) for camera in (front, FRONT)]
        lengths = [np.linalg.norm(arm) for arm in arms]
        assert 0.849 <= lengths[0] / lengths[1] <= 1.151
        assert 1.0 < front.fovy / FRONT.fovy <= 1.3
        assert np.degrees(np.arccos(arms[0] @ arms[1] / np.prod(lengths))) < 40


@pytest.mark.parametrize("name", SUITES)
def test_the_hand_starts_inside_the_workspace_where_it_is_asked_to(name: str) -> None:
    for seed in range(6):
        task = perturbed(suite(name)[seed], Perturbation("robot", 3))
        with World(task) as world:
            world.reset(seed)
            start, hand, pairs = world.scene.robot, world.state().gripper, world.contacts().pairs
        assert (np.array(start.position) > WORKSPACE[0] + (0.0, 0.0, 0.15)).all()
        assert (np.array(start.position) < WORKSPACE[1]).all()
        np.testing.assert_allclose(hand.position, start.position, atol=0.002)
        assert hand_yaw(hand.rotation) == pytest.approx(start.yaw, abs=0.01)
        assert not any({"gripper", "arm"} & pair for pair in pairs), "it touches nothing"


@pytest.mark.parametrize("level", LEVELS)
def test_other_words_keep_what_is_named_and_name_nothing_else(level: int) -> None:
    for task in every_task():
        for seed in range(4):
            plain = task.scene(seed).instruction
            told = perturbed(task, Perturbation("language", level)).scene(seed).instruction
            assert told != plain
            where = max(plain.rfind(" on the "), plain.rfind(" in the "))
            for phrase in (plain[len("put ") : where], plain[where + len(" on ") :]):
                assert phrase in told
            for word in (*SHAPES, *COLOURS, "left", "right", "behind", "front", "nearest", "farthest", "between"):
                assert (word in told.split()) <= (word in plain.replace("?", " ?").split())


def test_levels_of_wording_differ_in_kind() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        light, middle, long = (reword("put the red cube on the blue plate", rng, level) for level in LEVELS)
        assert len(light.split()) <= 9
        assert not middle.startswith(("put", "place", "set", "please put"))
        assert len(middle.split()) <= 16
        assert len(long.split()) >= 25


def test_an_instruction_of_another_form_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"teach rewording\.py its form"):
        reword("open the drawer", np.random.default_rng(0), 1)


def test_a_table_of_another_colour_hides_nothing() -> None:
    for seed in range(30):
        scene = perturbed(suite("object")[seed % 10], Perturbation("background", 3)).scene(seed)
        for cloth in (scene.table, scene.checker):
            assert cloth is not None
            for thing in scene.things:
                assert np.linalg.norm(np.subtract(cloth, COLOURS[thing.colour])) > 0.35


def test_a_sensors_faults_have_the_strength_they_name() -> None:
    grey = np.full((96, 96, 3), 128, np.uint8)
    assert expose(grey, SensorSpec(), 0, 0) is grey
    assert expose(grey, SensorSpec(noise=0.05), 0, 0).std() == pytest.approx(0.05 * 255, rel=0.05)
    dead = expose(grey, SensorSpec(dead=0.02), 0, 0)
    assert set(np.unique(dead)) == {0, 128, 255}
    assert (dead != 128).all(axis=2).mean() == pytest.approx(0.02, rel=0.3)
    means = [float(expose(grey, SensorSpec(exposure=0.2), frame, 0).mean()) for frame in range(200)]
    assert np.std(np.log2(np.array(means) / 128)) == pytest.approx(0.2, rel=0.2)
    edge = grey.copy()
    edge[:, 48:] = 255
    assert np.abs(np.diff(expose(edge, SensorSpec(blur=0.01), 0, 0)[0, :, 0].astype(int))).max() < 80


def test_noise_is_new_in_every_frame_and_camera_and_the_same_after_a_restore() -> None:
    task = perturbed(suite("object")[0], Perturbation("noise", 2))
    with World(task) as world, World(task) as other:
        world.reset(3)
        still = world.observe().images["front"]
        assert np.array_equal(still, world.observe().images["front"])
        assert not np.array_equal(still, world.render("front", (96, 96)))
        for _ in range(2):
            world.step([0, 0, 0, 0, 0, 0, -1])
        other.restore(world.snapshot(), 3)
        for camera in ("front", "wrist"):
            assert np.array_equal(world.observe().images[camera], other.observe().images[camera])
        sensor = world.scene.sensor
    flat = np.full((96, 96, 3), 128, np.uint8)
    faults = [expose(flat, sensor, frame, camera).astype(int) for frame, camera in ((0, 0), (1, 0), (0, 1))]
    assert all(np.abs(a - b).mean() > 5 for a, b in ((faults[0], faults[1]), (faults[0], faults[2])))


@pytest.mark.parametrize("name", SUITES)
def test_another_layout_keeps_the_goal(name: str) -> None:
    for seed in range(10):
        plain, *changed = scenes(suite(name)[seed], seed, "layout")
        for level, scene in zip(LEVELS, changed, strict=True):
            old, added = scene.things[: len(plain.things)], scene.things[len(plain.things) :]
            assert [replace(thing, x=0, y=0) for thing in old] == [replace(thing, x=0, y=0) for thing in plain.things]
            assert len(added) == level
            assert all(thing.kind.movable and thing.shape not in scene.instruction.split() for thing in added)
            assert len({thing.name for thing in scene.things}) == len(scene.things)
            ways = np.array([(new.x - was.x, new.y - was.y) for new, was in zip(old, plain.things, strict=True)])
            if name == "spatial":  # where things are to one another stays exactly as it is
                np.testing.assert_allclose(ways, np.broadcast_to(ways[0], ways.shape), atol=1e-12)
                assert np.linalg.norm(ways[0]) <= COMMON_SHIFT[level - 1]
            check_places(scene)


def check_places(scene: SceneSpec) -> None:
    """Everything is within reach, nothing overlaps, and what stands on a pedestal stands in its middle."""
    for i, one in enumerate(scene.things):
        for place, (low, high) in zip((one.x, one.y), AREA, strict=True):
            assert low - WIDER <= place <= high + WIDER
        for other in scene.things[:i]:
            apart = np.hypot(one.x - other.x, one.y - other.y)
            if other.shape == "pedestal" and one.base == other.top:
                assert apart < 1e-9
            else:
                assert apart >= one.radius + other.radius + CLOSE - 1e-9


def test_the_nearest_to_the_robot_stays_so() -> None:
    (task,) = (task for task in suite("spatial") if "nearest_to_robot" in task.name)
    for seed in range(40):
        for scene in scenes(task, seed, "layout"):
            balls = {thing.name: np.hypot(thing.x, thing.y) for thing in scene.things if thing.shape == "ball"}
            assert min(balls, key=lambda name: balls[name]) == scene.target


@pytest.mark.parametrize("name", ["object", "spatial", "height"])
def test_the_expert_still_solves_the_hardest_layout_from_the_farthest_start(name: str) -> None:
    task = suite(name)[1]
    layout, robot = (perturbed(task, Perturbation(axis, 3)).scene(4) for axis in ("layout", "robot"))
    both = replace(layout, robot=RobotStart(robot.robot.position, robot.robot.yaw))
    with World(replace(task, sample=lambda rng: both)) as world:
        world.reset(4)
        assert max(world.contacts().speeds.values()) < 0.02
        expert = Expert(world.scene)
        for _ in range(task.max_steps):
            world.step(expert.act(world.state()))
            if world.succeeded():
                break
        assert world.succeeded()
