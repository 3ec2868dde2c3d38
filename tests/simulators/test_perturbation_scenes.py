"""What LIBERO's perturbations do to compiled models: tried on a scene of boxes and a small arm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from PIL import Image

from thinkvla.perturbation import LEVELS
from thinkvla.simulators.libero.footprints import around, footprint, gap, moved
from thinkvla.simulators.libero.perturbations_layout import (
    APART,
    COMMON_SHIFT,
    SHIFT,
    Scene,
    rearrange,
    widen_state,
)
from thinkvla.simulators.libero.perturbations_robot import start_elsewhere
from thinkvla.simulators.libero.perturbations_view import change_lights, change_surfaces, move_camera
from thinkvla.simulators.libero.problem import Problem

SCENE = """
<mujoco>
  <compiler angle="radian"/>
  <asset>
    <texture name="wood" type="2d" builtin="flat" rgb1="0.6 0.4 0.2" width="32" height="32"/>
    <texture name="wall" type="cube" builtin="flat" rgb1="0.8 0.8 0.8" width="16" height="96"/>
    <texture name="label" type="2d" builtin="flat" rgb1="0.1 0.9 0.1" width="16" height="16"/>
    <material name="wood" texture="wood"/>
    <material name="wall" texture="wall"/>
    <material name="paint" rgba="0.2 0.2 0.2 1"/>
    <material name="label" texture="label"/>
  </asset>
  <worldbody>
    <light name="lamp" pos="1 0 3" dir="0.2 0 -1" diffuse="0.8 0.8 0.8" castshadow="false"/>
    <camera name="agentview" pos="1.2 0 1.2" quat="0.65328 0.2706 0.2706 0.65328" fovy="45"/>
    <geom name="room" type="box" size="0.01 2 2" pos="-2 0 0" material="wall" contype="0" conaffinity="0" group="1"/>
    <body name="table" pos="0 0 0.4">
      <geom name="top" type="box" size="0.6 0.6 0.1" material="wood" group="1"/>
      <geom name="leg" type="box" size="0.05 0.05 0.1" pos="0 0 -0.2" material="paint" group="1"/>
    </body>
    <body name="robot0_base" pos="-0.6 0 0.5">
      <geom name="bare" type="box" size="0.05 0.05 0.01" contype="0" conaffinity="0" rgba="0.5 0.5 0.5 1"/>
      <body name="l1" pos="0 0 0.1"><joint name="j1" axis="0 0 1" range="-3 3" limited="true"/>
        <geom type="capsule" size="0.02" fromto="0 0 0 0 0 0.2" mass="1"/>
        <body name="l2" pos="0 0 0.25"><joint name="j2" axis="0 1 0" range="-3 3" limited="true"/>
          <geom type="capsule" size="0.02" fromto="0.03 0 0 0.25 0 0" mass="1"/>
          <body name="l3" pos="0.3 0 0"><joint name="j3" axis="0 1 0" range="-3 3" limited="true"/>
            <geom type="capsule" size="0.02" fromto="0.03 0 0 0.25 0 0" mass="1"/>
            <body name="l4" pos="0.3 0 0"><joint name="j4" axis="0 1 0" range="-3 3" limited="true"/>
              <joint name="j5" axis="1 0 0" range="-3 3" limited="true"/>
              <joint name="j6" axis="0 0 1" range="-3 3" limited="true"/>
              <geom type="capsule" size="0.01" fromto="0.02 0 0 0.06 0 0" mass="1"/>
              <site name="hand" pos="0.08 0 0"/>
            </body>
          </body>
        </body>
      </body>
    </body>
    THINGS
  </worldbody>
</mujoco>
"""
THING = """
    <body name="{name}_main" pos="{x} {y} 0.53"><joint name="{name}_joint0" type="free"/>
      <geom type="box" size="0.03 0.02 0.03" material="label" group="1" mass="0.1"/></body>
"""
CHEST = """
    <body name="chest_main" pos="0.3 -0.4 0.6"><geom type="box" size="0.05 0.05 0.1"/>
      <body name="chest_drawer"><joint name="drawer" type="slide" axis="0 1 0" range="0 0.2" limited="true"/>
        <geom type="box" size="0.04 0.05 0.02" mass="0.1"/></body></body>
"""
PLACES = {"bowl_1": (0.0, 0.0), "cup_1": (0.0, 0.25), "lid_1": (0.3, 0.3), "added_1": (9.0, 0.0), "added_2": (9.0, 1.0)}


def build(names: tuple[str, ...] = tuple(PLACES)) -> tuple[Any, Any]:
    things = "".join(THING.format(name=name, x=PLACES[name][0], y=PLACES[name][1]) for name in names)
    model = mujoco.MjModel.from_xml_string(SCENE.replace("THINGS", things + CHEST))
    data = mujoco.MjData(model)
    data.qpos[[model.joint(f"j{number}").qposadr[0] for number in (2, 3, 4)]] = -0.4, 0.9, 0.3
    mujoco.mj_forward(model, data)
    return model, data


def scene(instruction: str = "put the bowl on the lid", goal: tuple[str, ...] = ("On", "bowl_1", "lid_1")) -> Scene:
    model, data = build()
    problem = Problem(
        text="",
        workspace="table",
        fixtures=("chest_1",),
        objects={"bowl_1": "bowl", "cup_1": "cup", "lid_1": "lid"},
        regions={"table_middle": (-0.3, -0.3, 0.35, 0.35), "table_edge": (0.28, -0.1, 0.32, 0.0)},
        init=(("On", "bowl_1", "table_middle"), ("On", "cup_1", "bowl_1"), ("On", "lid_1", "table_middle")),
        goal=(goal,),
    )
    problem = replace(problem, fixtures=("chest",))
    return Scene(model, data, problem, instruction, ("added_1", "added_2"), np.array([0.0, 0.0, 0.5]))


def parts(model: Any) -> dict[str, np.ndarray]:
    """Copies of everything in a model that an edit of ours could touch, and more."""
    names = [
        name for name in dir(model) if name.startswith(("body_", "cam_", "dof_", "geom_", "jnt_", "light_", "mat_"))
    ]
    found = {name: np.array(getattr(model, name)) for name in (*names, "tex_data", "qpos0")}
    headlight = model.vis.headlight
    return found | {
        f"headlight.{name}": np.array(getattr(headlight, name)) for name in ("ambient", "diffuse", "specular")
    }


def changed(before: dict[str, np.ndarray], model: Any) -> set[str]:
    after = parts(model)
    return {name for name in before if not np.array_equal(before[name], after[name])}


def sees(model: Any, points: np.ndarray) -> np.ndarray:
    """(N, 2) where points are in the camera's picture, −1 to 1 in it."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    local = (points - data.cam_xpos[0]) @ data.cam_xmat[0].reshape(3, 3)
    return np.asarray(local[:, :2] / -local[:, 2:] / np.tan(np.radians(model.cam_fovy[0]) / 2))


def test_a_moved_camera_sees_the_same_place_and_nothing_else_changes() -> None:
    shifts = []
    for seed in range(10):
        strengths = []
        for level in LEVELS:
            model, data = build()
            before, axis = parts(model), data.cam_xmat[0].reshape(3, 3)[:, 2]
            aim = data.cam_xpos[0] - axis * (data.cam_xpos[0, 2] - 0.5) / axis[2]
            move_camera(model, 0, 0.5, np.random.default_rng(seed), level)
            assert changed(before, model) == {"cam_pos", "cam_quat", "cam_fovy"}
            assert np.linalg.norm(model.cam_quat[0]) == pytest.approx(1)
            assert 1.07 ** (level > 0) < model.cam_fovy[0] / 45 <= 1 + 0.1 * level
            assert np.abs(sees(model, aim[None])).max() < 0.08, "it still looks there"
            strengths.append(np.linalg.norm(model.cam_pos[0] - before["cam_pos"][0]))
        assert strengths[0] < strengths[1] < strengths[2]
        shifts.append(strengths)
    assert np.mean(shifts, axis=0)[2] > 0.4


def test_lights_change_and_nothing_else() -> None:
    for level in LEVELS:
        model, _ = build()
        before = parts(model)
        change_lights(model, np.random.default_rng(level), level)
        allowed = {"light_pos", "light_dir", "light_diffuse", "light_ambient", "light_specular", "light_castshadow"}
        assert {"light_pos", "light_dir", "light_diffuse"} <= changed(before, model)
        assert changed(before, model) <= allowed | {f"headlight.{name}" for name in ("ambient", "diffuse", "specular")}
        assert bool(model.light_castshadow[0]) == (level > 1)
        assert np.linalg.norm(model.light_pos[0, :2]) == pytest.approx(1)
        assert model.light_pos[0, 2] == pytest.approx(3)
        assert (model.light_diffuse[0] > 0.05).all(), "it is never dark"


def test_surfaces_take_other_colours_and_things_keep_theirs(tmp_path: Path) -> None:
    swatch = tmp_path / "swatch.png"
    Image.fromarray(np.full((8, 8, 3), (0, 0, 255), np.uint8)).save(swatch)
    distances = []
    for level in LEVELS:
        model, _ = build()
        before = parts(model)
        geoms = [model.geom(name).id for name in ("room", "top", "leg", "bare")]
        textures = change_surfaces(model, geoms, [swatch], np.random.default_rng(0), level)
        assert textures == [model.texture("wood").id, model.texture("wall").id]
        assert changed(before, model) == {"tex_data", "mat_rgba", "geom_rgba"}
        label = model.texture("label")
        place = slice(int(label.adr[0]), int(label.adr[0]) + 16 * 16 * 3)
        assert np.array_equal(model.tex_data[place], before["tex_data"][place])
        assert (model.mat_rgba != before["mat_rgba"]).any(axis=1).tolist() == [False, False, True, False]
        assert (model.geom_rgba != before["geom_rgba"]).any(axis=1).nonzero()[0].tolist() == [geoms[3]]
        distances.append(np.abs(model.tex_data.astype(float) - before["tex_data"]).sum())
    assert 1.8 * distances[0] < distances[1] < 0.8 * distances[2]


def test_the_hand_starts_elsewhere_and_touches_nothing() -> None:
    model, data = build()
    joints, hand = [model.joint(f"j{number}").id for number in range(1, 7)], model.site("hand").id
    plain, start = data.qpos.copy(), data.site_xpos[hand].copy()
    ways = []
    for level in LEVELS:
        angles = start_elsewhere(model, data, joints, hand, np.random.default_rng(1), level)
        assert np.array_equal(angles, start_elsewhere(model, data, joints, hand, np.random.default_rng(1), level))
        assert np.array_equal(data.qpos, plain), "the scene itself stays as it is"
        trial = mujoco.MjData(model)
        trial.qpos[:] = plain
        trial.qpos[model.jnt_qposadr[joints]] = angles
        mujoco.mj_forward(model, trial)
        way = trial.site_xpos[hand] - start
        assert (np.abs(way) <= level * np.array([0.04, 0.06, 0.02]) + 0.002).all()
        assert way[2] > -0.002
        assert (angles >= model.jnt_range[joints, 0]).all()
        assert (angles <= model.jnt_range[joints, 1]).all()
        ways.append(np.linalg.norm(way))
    assert ways[0] < ways[1] < ways[2]


def test_no_free_start_is_an_error() -> None:
    model, data = build()
    joints = [model.joint("j1").id]  # one hinge cannot put a hand anywhere
    with pytest.raises(ValueError, match=r"perturbation 'robot', level 2: no free start of the arm in 50 draws"):
        start_elsewhere(model, data, joints, model.site("hand").id, np.random.default_rng(0), 2)


def test_a_footprint_covers_open_drawers() -> None:
    model, data = build()
    assert footprint(model, data, model.body("chest_main").id) == pytest.approx((0.25, -0.45, 0.35, -0.15))
    assert footprint(model, data, model.body("bowl_1_main").id) == pytest.approx((-0.03, -0.02, 0.03, 0.02))


def test_rectangles() -> None:
    square = (0.0, 0.0, 1.0, 1.0)
    assert gap(square, moved(square, 1.5, 0.2)) == pytest.approx(0.5)
    assert gap(square, moved(square, 0.5, -0.2)) == pytest.approx(-0.5)
    assert around([square, moved(square, 2, 1)]) == (0.0, 0.0, 3.0, 2.0)


def ways(plain: Scene, positions: np.ndarray) -> dict[str, np.ndarray]:
    return {
        name: positions[plain.place(name) : plain.place(name) + 7] - plain.data.qpos[plain.place(name) :][:7]
        for name in plain.problem.objects
    }


@pytest.mark.parametrize("level", LEVELS)
def test_another_layout_moves_things_with_what_stands_on_them_and_adds_others_apart(level: int) -> None:
    plain = scene()
    fixed = footprint(plain.model, plain.data, plain.model.body("chest_main").id)
    for seed in range(3):
        positions = rearrange(plain, np.random.default_rng(seed), level)
        assert np.array_equal(positions, rearrange(plain, np.random.default_rng(seed), level))
        way = ways(plain, positions)
        assert np.allclose(way["cup_1"], way["bowl_1"]), "the cup stands on the bowl"
        for name in ("bowl_1", "lid_1"):
            assert 0.75 * SHIFT[level - 1] <= np.linalg.norm(way[name][:2]) <= SHIFT[level - 1]
            assert not way[name][2:].any()
        arm = plain.model.nq - 5 * 7 - 1
        assert np.array_equal(positions[:arm], plain.data.qpos[:arm])
        trial = mujoco.MjData(plain.model)
        trial.qpos[:] = positions
        mujoco.mj_forward(plain.model, trial)
        prints = {n: footprint(plain.model, trial, plain.model.body(f"{n}_main").id) for n in PLACES}
        for name in plain.added:
            assert prints[name][0] < 1, "it was brought to the table"
            assert trial.body(f"{name}_main").xpos[2] == pytest.approx(0.53)
            rest = [fixed, *(other for n, other in prints.items() if n != name)]
            assert min(gap(prints[name], other) for other in rest) >= APART


def test_where_words_speak_of_relations_all_move_the_same_way() -> None:
    plain = scene("pick up the bowl next to the cup and place it on the lid")
    way = ways(plain, rearrange(plain, np.random.default_rng(2), 3))
    assert all(np.allclose(way[name], way["bowl_1"]) for name in way)
    assert 0.75 * COMMON_SHIFT[2] <= np.linalg.norm(way["bowl_1"]) <= COMMON_SHIFT[2]


def test_where_the_goal_is_a_place_nothing_moves_and_the_way_there_stays_free() -> None:
    plain = scene("push the bowl to the edge", ("On", "bowl_1", "table_edge"))
    for seed in range(5):
        positions = rearrange(plain, np.random.default_rng(seed), 3)
        assert not any(way.any() for way in ways(plain, positions).values())
        for name in plain.added:
            x, y = positions[plain.place(name) :][:2]
            assert not (-0.03 - APART < x < 0.32 + APART and -0.1 - APART < y < 0.02 + APART)


def test_a_full_workspace_is_an_error() -> None:
    crowded = scene()
    chest = crowded.model.geom_bodyid == crowded.model.body("chest_main").id
    crowded.model.geom_aabb[chest, 3:] = 2.0
    with pytest.raises(ValueError, match=r"perturbation 'layout', level 1: no room for 'added_1' in 'put the bowl"):
        rearrange(crowded, np.random.default_rng(0), 1)


def test_a_stored_state_fits_the_scene_with_more_things() -> None:
    small, _ = build(("bowl_1", "cup_1", "lid_1"))
    large, large_data = build()
    rng = np.random.default_rng(0)
    state = np.concatenate([[1.5], rng.normal(size=small.nq), rng.normal(size=small.nv)])
    start = np.concatenate([[0.0], large_data.qpos, large_data.qvel])
    wide = widen_state(large, state, start, ("added_1", "added_2"))
    assert wide[0] == 1.5
    for name in [small.joint(number).name for number in range(small.njnt)]:
        for adr, width, offset in (("qposadr", "qpos0", 0), ("dofadr", "damping", 1)):
            size = len(getattr(small.joint(name), width))
            old = getattr(small.joint(name), adr)[0] + 1 + offset * small.nq
            new = getattr(large.joint(name), adr)[0] + 1 + offset * large.nq
            assert np.array_equal(wide[new : new + size], state[old : old + size]), name
    added = large.joint("added_2_joint0").qposadr[0]
    assert np.array_equal(wide[1 + added : 8 + added], large_data.qpos[added : added + 7])
    with pytest.raises(ValueError, match=r"the stored state has 5 numbers and the scene"):
        widen_state(large, state[:5], start, ("added_1", "added_2"))
