"""The scripted expert in a world without forces: it brings things where they belong, whatever happens on the way."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libero_scenes import BASE, DOWN, SIZES, _turn, cabinet, hand, scene, step, thing

from thinkvla.contract import check_actions
from thinkvla.data.embodiments import SPECIFICATIONS
from thinkvla.simulators.libero.expert import Expert
from thinkvla.simulators.libero.fixtures import hand_off, handle, inside, is_ready, open_drawer
from thinkvla.simulators.libero.grasping import FINGER_REACH, RIMS, best_grasp, grasps, turn_to
from thinkvla.simulators.libero.motion import CLOSED, OPEN, palm_down, rotation_vector
from thinkvla.simulators.libero.truth import Goal, Hand, Region, Thing, Truth

LIBERO = SPECIFICATIONS["libero"].embodiment(20.0)


def solve(truth: Truth, steps: int = 200) -> int | None:
    """Steps the expert needs, or None."""
    for number in range(steps):
        if all(goal.done for goal in truth.goals):
            return number
        action = Expert().act(truth)
        check_actions(action[None], LIBERO, "expert")
        truth = step(truth, action)
    return None


@settings(max_examples=15, deadline=None)
@given(
    category=st.sampled_from(["cream_cheese", "milk"]),
    x=st.floats(-0.2, 0.15),
    y=st.floats(-0.25, 0.05),
    yaw=st.floats(-3.1, 3.1),
)
def test_a_thing_is_brought_into_the_basket(category: str, x: float, y: float, yaw: float) -> None:
    assert (solve(scene(thing(category, x, y, yaw))) or 999) < 130


def test_two_things_are_brought_one_after_the_other() -> None:
    assert solve(scene(thing("cream_cheese", -0.1, -0.2), thing("milk", 0.1, -0.1)), steps=300) is not None


def test_what_was_dropped_is_picked_up_again() -> None:
    truth = scene(thing("milk", 0.05, -0.15))
    for _ in range(200):
        if truth.hand.holding and truth.thing("milk_1").underside > 0.1:
            break
        truth = step(truth, Expert().act(truth))
    assert truth.hand.holding == ("milk_1",)
    for _ in range(4):
        truth = step(truth, np.array([0, 0, 0, 0, 0, 0, OPEN], np.float32))
    assert not truth.hand.holding
    assert solve(truth) is not None


def test_a_tilted_hand_comes_upright() -> None:
    tilted = hand(rotation=_turn(np.array([0.3, 0.2, 0.0])) @ hand().rotation)
    truth = scene(thing("milk", 0.1, -0.1), of=tilted)
    for _ in range(40):
        truth = step(truth, Expert().act(truth))
    assert truth.hand.rotation[2, 2] < -0.999


def test_the_expert_lets_go_of_what_has_arrived() -> None:
    truth = scene(thing("milk", 0.0, 0.25))
    assert truth.goals[0].done
    truth = Truth(
        hand(0.0, 0.25, 0.06),
        truth.things,
        truth.regions,
        {},
        (*truth.goals, Goal("in", ("milk_1", "x"), False)),
        truth.base,
    )
    action = Expert().act(truth)
    assert action[6] == OPEN


def test_an_action_is_a_function_of_what_can_be_sent() -> None:
    truth = scene(thing("milk", 0.1, -0.1, 0.4), thing("cream_cheese", -0.1, -0.1))
    sent = Truth.from_plain(json.loads(json.dumps(truth.to_plain())))
    assert np.array_equal(Expert().act(truth), Expert().act(sent))


def test_ground_truth_of_another_version_is_refused() -> None:
    values = scene(thing("milk", 0.1, -0.1)).to_plain()
    del values["joints"]
    with pytest.raises(ValueError, match=r"keys \['joints'\] are missing or unknown"):
        Truth.from_plain(values)


def test_boxes_are_held_across_a_side_that_fits() -> None:
    cheese = thing("cream_cheese", 0.1, 0.1, yaw=0.5)
    grasp, *aside = grasps(cheese)
    assert [other.aside for other in aside] == pytest.approx([0.025, 0.025])
    assert all(np.linalg.norm(other.point - grasp.point) == pytest.approx(0.025) for other in aside)
    assert abs(grasp.closing @ np.array([np.cos(0.5), np.sin(0.5), 0.0])) < 1e-9  # across the short side
    assert grasp.point[2] == pytest.approx(0.012)
    assert len(list(grasps(thing("milk", 0.0, 0.0)))) == 2


def test_what_is_too_wide_is_an_error() -> None:
    half = np.array([0.1, 0.1, 0.1])
    wide = Thing("crate_1", "crate", np.zeros(3), np.eye(3), -half, half, movable=True)
    with pytest.raises(ValueError, match="'crate_1' is wider than the hand opens"):
        best_grasp(scene(), wide)


def test_a_bowl_is_held_at_its_rim_where_nothing_is_in_the_way() -> None:
    bowl = thing("akita_black_bowl", 0.0, -0.1)
    for angle in np.arange(8) * np.pi / 4:
        away = SIZES["akita_black_bowl"][0] + FINGER_REACH - 0.008
        post = thing("milk", *(bowl.position[:2] + away * np.array([np.cos(angle), np.sin(angle)])))
        grasp = best_grasp(scene(bowl, post), bowl)
        outer = grasp.point + (FINGER_REACH + 0.012) * grasp.closing
        assert not post.hit(outer[None], 0.012).any(), angle
        assert np.linalg.norm((grasp.point - bowl.position)[:2]) == pytest.approx(0.053 - 0.008)


def test_a_bowl_far_away_is_held_where_the_arm_is_not_straight() -> None:
    bowl = thing("akita_black_bowl", 0.14, -0.05)
    beside = hand(0.14, 0.0, 0.3)
    far = bowl.position[:2] - BASE[:2]
    grasp = best_grasp(Truth(beside, (bowl,), (), {}, (), BASE), bowl)
    assert np.linalg.norm((grasp.point - BASE)[:2]) < np.linalg.norm(far)
    near = replace(bowl, position=bowl.position - np.array([0.2, 0.0, 0.0]))
    grasp = best_grasp(Truth(hand(-0.06, 0.0, 0.3), (near,), (), {}, (), BASE), near)
    assert grasp.closing @ np.array([0.0, 1.0, 0.0]) > 0.99  # the nearest to the hand


def test_the_palm_stays_above_the_rim_of_what_is_held_at_it() -> None:
    below = 0.033  # metres from the grip point up to the palm
    slack = 0.008  # the expert closes the fingers this much too deep
    assert all(rim.depth + slack < below for name, rim in RIMS.items() if "bowl" in name)


def test_mugs_are_not_held_at_their_handles() -> None:
    for category, rim in ((name, rim) for name, rim in RIMS.items() if rim.handle):
        half = np.array([0.06, 0.05, 0.05])
        mug = Thing("mug_1", category, np.zeros(3), np.eye(3), -half, half, movable=True)
        assert all(rim.handle * grasp.closing[0] < 0.5 for grasp in grasps(mug))


@settings(deadline=None)
@given(yaw=st.floats(-3.1, 3.1), wanted=st.floats(-3.1, 3.1))
def test_fingers_turn_the_short_way_to_either_side(yaw: float, wanted: float) -> None:
    upright = palm_down(DOWN, yaw)
    closing = np.array([np.cos(wanted), np.sin(wanted), 0.0])
    turn = turn_to(upright, closing)
    assert abs(turn) <= np.pi / 2 + 1e-9
    assert abs(palm_down(upright, turn)[:, 0] @ closing) == pytest.approx(1.0)
    assert np.linalg.det(upright) == pytest.approx(1.0)


@settings(deadline=None)
@given(st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3))
def test_a_hand_tilts_upright_by_the_shortest_way(vector: list[float]) -> None:
    tilted = _turn(np.array(vector)) @ DOWN
    upright = palm_down(tilted, 0.0)
    assert np.allclose(upright[:, 2], [0.0, 0.0, -1.0], atol=1e-9)
    assert np.allclose(upright.T @ upright, np.eye(3), atol=1e-9)
    angle = np.arccos(np.clip(-tilted[2, 2], -1, 1))
    assert np.linalg.norm(rotation_vector(upright @ tilted.T)) == pytest.approx(angle, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3))
def test_rotation_vectors_undo_rotations(vector: list[float]) -> None:
    assert rotation_vector(_turn(np.array(vector))) == pytest.approx(vector, abs=1e-6)


def test_gripper_values_are_the_published_ones() -> None:
    published = SPECIFICATIONS["libero"].gripper
    assert published is not None
    assert (published.open, published.closed) == (OPEN, CLOSED)


def at_bar(out: float, opening: float = 0.02) -> tuple[Truth, Thing]:
    """A hand at the bar of a drawer, its palm to the front."""
    fixed, drawer, inside = cabinet(out)
    rotation = np.stack([[0.0, 0.0, 1.0], np.cross([0.0, 1.0, 0.0], [0.0, 0.0, 1.0]), [0.0, 1.0, 0.0]], axis=1)
    of = Hand(handle(drawer), rotation, opening, ())
    return Truth(of, (fixed, drawer), (inside,), {}, (), BASE), drawer


def test_a_drawer_is_pulled_slower_the_farther_it_is_out_or_as_wide_as_it_goes() -> None:
    pulls = [float(open_drawer(*at_bar(out))[1]) for out in (0.0, 0.08, 0.11)]
    assert pulls == sorted(pulls)
    assert -1.0 <= pulls[0] < pulls[-1] < 0.0
    assert open_drawer(*at_bar(0.15), wide=True)[1] == -1.0


def test_a_drawer_that_was_nudged_is_not_pulled_again() -> None:
    truth, drawer = at_bar(0.10)
    assert not is_ready(truth, drawer)  # while the hand is at it
    assert is_ready(Truth(hand(), truth.things, truth.regions, {}, (), BASE), drawer)
    truth, drawer = at_bar(0.05)
    assert not is_ready(Truth(hand(), truth.things, truth.regions, {}, (), BASE), drawer)


def test_the_hand_leaves_a_bar_when_the_fingers_are_open() -> None:
    still, away = hand_off(at_bar(0.12)[0]), hand_off(at_bar(0.12, opening=0.07)[0])
    assert still is not None
    assert away is not None
    assert not still[:6].any()
    assert still[6] == OPEN
    assert away[1] == -1.0
    assert hand_off(Truth(hand(), (), (), {}, (), BASE)) is None


def test_the_hand_does_not_come_down_on_a_drawer_that_is_out() -> None:
    fixed, drawer, _ = cabinet(0.12)
    bowl = thing("akita_black_bowl", 0.0, 0.03)  # close before the drawer, and lower
    grasp = best_grasp(scene(bowl, fixed, drawer, of=hand(0.0, 0.3, 0.5)), bowl)
    for along in (-0.1, 0.1):
        end = grasp.point + along * grasp.closing
        assert not drawer.hit(np.append(end[:2], drawer.position[2])[None], 0.03).any()


def test_what_a_drawer_stands_out_over_is_moved_away_from_it_before_it_is_lifted() -> None:
    fixed, drawer, inside_it = cabinet(0.12)
    goal = Goal("in", ("akita_black_bowl_1", inside_it.name), False)

    def held(y: float) -> Truth:
        bowl = thing("akita_black_bowl", 0.0, y)
        of = replace(hand(0.045, y, 0.03), opening=0.01, holding=(bowl.name,))
        return Truth(of, (bowl, fixed, drawer), (inside_it,), {}, (goal,), BASE)

    front = drawer.position[1] + drawer.low[1]
    out = Expert().act(held(front))
    assert out[1] < -0.5
    assert not out[[0, 2]].any()
    assert out[6] == CLOSED
    assert Expert().act(held(front - 0.12))[2] == 1.0


def test_things_go_into_a_drawer_near_its_front_with_room_for_the_hand() -> None:
    _, drawer, region = cabinet(0.12)
    for side in (-1.0, 1.0):
        bowl = thing("akita_black_bowl", 0.0, 0.0)
        of = replace(hand(0.045 * side, 0.0, 0.3), holding=(bowl.name,))
        spot = inside(Truth(of, (bowl,), (region,), {}, (), BASE), drawer, region, bowl)
        assert side * spot[0] < -0.03
        assert abs(spot[0]) + 0.053 < drawer.high[0]
        assert drawer.position[1] + drawer.low[1] < spot[1] - 0.053 < spot[1] < region.position[1]


def test_where_there_is_little_room_the_fingers_travel_across() -> None:
    bowl, narrow = thing("akita_black_bowl", 0.0, -0.1), np.array([0.0, 1.0, 0.0])
    above = scene(bowl, of=hand(0.0, -0.05, 0.3))
    assert abs(best_grasp(above, bowl).closing @ narrow) > 0.9
    assert abs(best_grasp(above, bowl, narrow).closing @ narrow) < 0.1


def test_a_drawer_is_shut_from_its_front_with_a_tilted_hand() -> None:
    fixed, drawer, region = cabinet(0.12)
    bowl = replace(thing("akita_black_bowl", 0.0, 0.0), position=region.position - [0.0, 0.03, 0.02])
    goals = Goal("in", (bowl.name, region.name), True), Goal("close", (region.name,), False)
    of = hand(0.0, 0.1, 0.4)
    for _ in range(150):
        truth = Truth(of, (bowl, fixed, drawer), (region,), {}, goals, BASE)
        of = step(replace(truth, goals=()), Expert().act(truth)).hand
        if np.linalg.norm(of.position - handle(drawer)) < 0.015:
            break
    palm = of.rotation[:, 2]
    assert np.linalg.norm(of.position - handle(drawer)) < 0.025
    assert palm[1] == pytest.approx(np.sin(np.radians(40)), abs=0.1)
    assert abs(of.rotation[2, 0]) < 0.1  # both fingers at the same height
    push = Expert().act(truth)
    assert push[1] > 0.9
    assert push[6] == CLOSED


def test_the_hand_keeps_clear_of_what_is_taller_beside_a_thing() -> None:
    cheese, high = thing("cream_cheese", 0.05, -0.1), hand(0.05, -0.1, 0.3)
    free = best_grasp(scene(cheese, of=high), cheese)
    assert np.allclose(free.point[:2], cheese.position[:2])
    beside = thing("milk", 0.09, -0.2)
    grasp = best_grasp(scene(cheese, beside, of=high), cheese)
    for along in (-0.1, 0.1):
        assert not beside.hit((grasp.point + along * grasp.closing + [0.0, 0.0, 0.08])[None], 0.03).any()
    above = Truth(hand(grasp.point[0], grasp.point[1], grasp.point[2] + 0.02), (cheese, beside), (), {}, (), BASE)
    assert np.allclose(best_grasp(above, cheese).point, grasp.point)  # it stays there on its way down


@pytest.mark.parametrize(("off", "fingers"), [(0.01, OPEN), (0.04, CLOSED)])
def test_a_bowl_that_leans_on_the_rim_of_its_place_is_let_go(off: float, fingers: float) -> None:
    plate = thing("cream_cheese", 0.0, 0.0)  # as flat as one
    bowl = thing("akita_black_bowl", off, 0.0)
    bowl = replace(bowl, position=bowl.position + np.array([0.0, 0.0, 0.015]))
    holding = replace(hand(off, 0.045, 0.05), opening=0.01, holding=(bowl.name,))
    goal = Goal("on", (bowl.name, plate.name), False)
    assert Expert().act(Truth(holding, (bowl, plate), (), {}, (goal,), BASE))[6] == fingers


def test_things_that_share_a_surface_stand_apart() -> None:
    surface = Region("stove_1_cook_region", "", np.zeros(3), np.eye(3), np.array([0.075, 0.075, 0.0]))
    carried = [thing("milk", 0.0, 0.0), replace(thing("milk", 0.0, 0.0), name="milk_2")]
    goals = tuple(Goal("on", (one.name, surface.name), False) for one in carried)
    ways = []
    for one, goal in zip(carried, goals, strict=True):
        holding = replace(hand(0.0, 0.0, 0.3), opening=0.05, holding=(one.name,))
        there = [replace(other, position=np.array([0.0, 0.0, 0.3 if other is one else -0.5])) for other in carried]
        now = tuple(replace(other, done=other is not goal) for other in goals)
        ways.append(Expert().act(Truth(holding, tuple(there), (surface,), {}, now, BASE))[0])
    assert ways[0] < 0.0 < ways[1]
