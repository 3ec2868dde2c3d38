from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from thinkvla.contract import ContractError
from thinkvla.tabletop import rendering
from thinkvla.tabletop.control import WORKSPACE, hand_yaw, palm_down, rotation_matrix, rotation_vector
from thinkvla.tabletop.embodiment import GRIP, ROTATION, TABLETOP, TRANSLATION
from thinkvla.tabletop.rendering import Renderer, _shrink
from thinkvla.tabletop.shapes import COLOURS
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.world import World

TASK = suite("object")[4]  # with the brown box
SEED = 11


@pytest.fixture
def world() -> Iterator[World]:
    with World(TASK) as world:
        world.reset(SEED)
        yield world


def random_actions(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, 7))


def go_to(world: World, position: np.ndarray, steps: int = 25) -> None:
    for _ in range(steps):
        way = (position - world.state().gripper.position) / TRANSLATION
        world.step(np.append(np.clip(0.6 * way, -1, 1), [0, 0, 0, -1]))


def test_one_seed_gives_one_episode_bit_for_bit(world: World) -> None:
    with World(TASK) as other:
        other.reset(SEED + 1)
        other.step(np.ones(7))
        other.reset(SEED)
        for action in random_actions(12):
            assert np.array_equal(world.snapshot(), other.snapshot())
            world.step(action)
            other.step(action)
        first, second = world.observe(), other.observe()
        assert all(np.array_equal(first.images[c], second.images[c]) for c in TABLETOP.cameras)
        other.reset(SEED + 1)
        assert not np.array_equal(world.observe().images["front"], other.observe().images["front"])


def test_restore_continues_exactly_where_the_snapshot_was_taken(world: World) -> None:
    actions = random_actions(16)
    for action in actions[:8]:
        world.step(action)
    moment = world.snapshot()
    for action in actions[8:]:
        world.step(action)
    with World(TASK) as other:
        other.restore(moment, SEED)
        for action in actions[8:]:
            other.step(action)
        assert np.array_equal(world.snapshot(), other.snapshot())
        other.restore(moment, SEED)  # once more, in a world that has gone on
        for action in actions[8:]:
            other.step(action)
        assert np.array_equal(world.snapshot(), other.snapshot())
        with pytest.raises(ValueError, match="task and seed it was taken from"):
            other.restore(moment[:-1], SEED)


def test_the_observation_fits_the_embodiment(world: World) -> None:
    observation = world.observe()
    observation.check(TABLETOP)
    assert observation.instruction == "put the blue mug in the brown box"
    assert world.render("wrist", (50, 120)).shape == (50, 120, 3)
    with pytest.raises(ValueError, match="640"):
        world.render("front", (96, 641))
    with pytest.raises(ValueError, match="unknown camera 'top'"):
        world.render("top", (96, 96))


def test_actions_outside_the_contract_are_refused(world: World) -> None:
    before = world.snapshot()
    for action in ([0.0] * 6, [np.nan] + [0.0] * 6, [0.0] * 6 + [1.5]):
        with pytest.raises(ContractError, match="action"):
            world.step(action)
    assert np.array_equal(world.snapshot(), before)


def test_a_world_wants_a_reset_first() -> None:
    with World(TASK) as world, pytest.raises(RuntimeError, match=r"call reset\(seed\)"):
        world.state()


def test_without_opengl_the_error_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: int) -> None:
        raise RuntimeError("no device")

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr("mujoco.egl.GLContext", broken)
    rendering._open_gl_context.cache_clear()  # a test before this one may have opened it
    with pytest.raises(RuntimeError, match="libegl1 libopengl0 libgl1-mesa-dri"):
        Renderer()


def test_a_backend_mujoco_cannot_load_is_reported_with_the_packages() -> None:
    environment = {**os.environ, "MUJOCO_GL": "nonsense"}
    command = [sys.executable, "-c", "import thinkvla.tabletop.world"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "MUJOCO_GL is nonsense" in result.stderr
    assert "libosmesa6" in result.stderr


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("value", [-0.8, 0.8])
def test_a_translation_moves_the_hand_as_its_unit_says(world: World, axis: int, value: float) -> None:
    before = world.state().gripper
    action = np.zeros(7)
    action[axis] = value
    world.step(action)
    world.step(np.zeros(7))
    after = world.state().gripper
    expected = value * TRANSLATION * np.eye(3)[axis]
    np.testing.assert_allclose(after.position - before.position, expected, atol=0.001)
    assert np.linalg.norm(rotation_vector(after.rotation @ before.rotation.T)) < 0.01


@pytest.mark.parametrize("axis", range(3))
def test_a_rotation_turns_the_hand_in_place(world: World, axis: int) -> None:
    before = world.state().gripper
    action = np.zeros(7)
    action[3 + axis] = 0.8
    world.step(action)
    world.step(np.zeros(7))
    after = world.state().gripper
    turned = rotation_vector(after.rotation @ before.rotation.T)
    np.testing.assert_allclose(turned, 0.8 * ROTATION * np.eye(3)[axis], atol=0.01)
    np.testing.assert_allclose(after.position, before.position, atol=0.002)


def test_the_gripper_opens_and_closes_a_step_at_a_time(world: World) -> None:
    openings = [world.state().gripper.opening]
    for _ in range(5):
        world.step([0, 0, 0, 0, 0, 0, 1])
        openings.append(world.state().gripper.opening)
    np.testing.assert_allclose(np.diff(openings)[:3], -GRIP, atol=0.006)
    assert openings[0] == pytest.approx(0.072, abs=0.001)
    assert openings[-1] < 0.003
    for _ in range(4):
        world.step([0, 0, 0, 0, 0, 0, -1])
    assert world.state().gripper.opening > 0.07


def test_the_hand_stays_in_its_workspace_and_upright(world: World) -> None:
    for corner in ((1, 1, 1), (-1, -1, 1), (1, -1, 1)):
        for _ in range(25):
            world.step([*corner, 1, 1, 1, -1])
        hand = world.state().gripper
        assert (hand.position > WORKSPACE[0] - 0.01).all()
        assert (hand.position < WORKSPACE[1] + 0.01).all()
        assert np.arccos(-hand.rotation[2, 0]) < 0.55
        assert abs(hand_yaw(hand.rotation)) < 1.8


def test_the_hand_does_not_pass_through_the_table(world: World) -> None:
    deepest = np.inf
    for _ in range(15):
        world.step([0, 0, -1, 0, 0, 0, -1])
        deepest = min(deepest, world.state().gripper.position[2])
    assert deepest > 0.004
    world.step([0, 0, 1, 0, 0, 0, -1])  # the command did not wind up: one step back takes the hand off the table
    assert world.state().gripper.position[2] > 0.03


def test_the_hand_does_not_pass_through_a_container(world: World) -> None:
    box = world.state().object("brown box")
    start = np.add(box.position, [-0.15, 0, 0.02])
    go_to(world, np.add(start, [0, 0, 0.1]))
    go_to(world, start)
    for _ in range(10):
        world.step([0.5, 0, 0, 0, 0, 0, -1])
    assert frozenset({"gripper", "brown box"}) in world.contacts().pairs
    assert world.state().gripper.position[0] < box.position[0] - 0.04
    np.testing.assert_array_equal(world.state().object("brown box").position, box.position)


def test_point_maps_lie_on_the_pixels_they_belong_to(world: World) -> None:
    maps = world.point_maps(4)
    assert maps.shape == (2, 24, 24, 3)
    assert maps.dtype == np.float32
    rows, columns = np.mgrid[0:24, 0:24] * 4 + 2.0
    for name, points in zip(TABLETOP.cameras, maps, strict=True):
        camera = world.state().camera(name)
        projected = camera.project(points.astype(np.float64))
        np.testing.assert_allclose(projected[..., 0], columns, atol=1e-3)
        np.testing.assert_allclose(projected[..., 1], rows, atol=1e-3)
        assert (np.linalg.norm(points - camera.position, axis=-1) <= 3.0 + 1e-5).all()
    with pytest.raises(ValueError, match="divisor"):
        world.point_maps(5)


def test_point_maps_agree_with_the_table_plane_and_the_image(world: World) -> None:
    camera = world.state().camera("front")
    points, image = world.point_maps(4)[0].astype(np.float64), world.observe().images["front"].astype(int)
    table = np.abs(points[..., 2]) < 1e-4
    assert 0.3 < table.mean() < 0.9
    rays = points[table] - camera.position
    on_plane = camera.position - rays * (camera.position[2] / rays[:, 2:])
    np.testing.assert_allclose(points[table], on_plane, atol=1e-3)
    blue = world.state().object("blue mug")
    near = np.linalg.norm(points - blue.position, axis=-1) < 0.03
    blocks = image.reshape(24, 4, 24, 4, 3)[:, 1:3, :, 1:3].mean(axis=(1, 3))
    assert (blocks[near][:, 2] > blocks[near][:, 0]).mean() > 0.6


def test_objects_show_their_colour_where_the_state_says(world: World) -> None:
    state, image = world.state(), world.render("front", TABLETOP.image_size).astype(float)
    for thing in state.objects:
        if thing.has_front:  # has parts in other colours
            continue
        column, row, _ = state.camera("front").project(thing.position)
        seen, expected = image[int(row), int(column)], 255 * np.array(COLOURS[thing.colour])
        cosine = seen @ expected / np.linalg.norm(seen) / np.linalg.norm(expected)
        assert cosine > 0.93, (thing.name, seen, expected)


def test_images_are_averages_of_a_finer_rendering(world: World) -> None:
    with World(TASK, image_size=(192, 192)) as other:
        other.reset(SEED)
        fine = other.render("front", (192, 192)).astype(float)
    average = fine.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    image = world.render("front", (96, 96))
    assert np.abs(image - average).mean() < 1.5
    assert np.abs(_shrink(fine.astype(np.uint8)) - average).max() <= 0.5


def test_things_rest_at_the_start(world: World) -> None:
    contacts = world.contacts()
    assert max(contacts.speeds.values()) < 0.01
    assert all(contacts.touched_by(name) == {"table"} for name in contacts.speeds)
    assert not world.succeeded()


def test_rotation_helpers_agree_with_rodrigues() -> None:
    vector = np.array([0.3, -0.5, 0.2])
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    expected = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    np.testing.assert_allclose(rotation_matrix(vector), expected, atol=1e-12)
    np.testing.assert_allclose(rotation_vector(expected), vector, atol=1e-12)
    assert hand_yaw(palm_down(0.7)) == pytest.approx(0.7)
    np.testing.assert_allclose(palm_down(0.7)[:, 0], [0, 0, -1], atol=1e-12)
