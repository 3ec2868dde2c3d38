"""Training the explicit-3D baseline from recorded point maps, and what its checkpoint then asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from thinkvla.checkpoint import load_checkpoint
from thinkvla.contract import ActionChunk, Embodiment
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.evaluate.server import PolicyServer
from thinkvla.evaluate.tabletop_benchmark import TabletopBenchmark
from thinkvla.evaluate.wire import decode_observation, require_agreement
from thinkvla.method.config import MethodConfig
from thinkvla.recipes.registry import recipe
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.seeds import EVALUATION
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.world import World
from thinkvla.train.config import TrainConfig
from thinkvla.train.loop import train
from thinkvla.train.memory import count_parameters
from thinkvla.train.plan import plan_run
from thinkvla.train.setup import build_policy, co_training_data, open_episodes, point_map_size

EXPLICIT = MethodConfig("none", False, False, False, vision_block=2, geometry_dim=48, explicit_points=True)


@pytest.fixture
def explicit_run(small_run: TrainConfig) -> TrainConfig:
    return replace(small_run, method=EXPLICIT, steps=2, optimizer=replace(small_run.optimizer, warmup_steps=1))


def test_a_run_from_recorded_points(explicit_run: TrainConfig) -> None:
    final = train(replace(explicit_run, data=replace(explicit_run.data, held_out=0.34)))
    policy, preprocessor = load_checkpoint(final)
    assert preprocessor.embodiment.point_map_size == (24, 24)
    assert policy.point_embedding is not None
    assert all(parameter.any() for parameter in policy.point_embedding.layers[-1].parameters())  # it began at zero
    further = replace(explicit_run, start=final, output=explicit_run.output.with_name("further"))
    build_policy(further, open_episodes(further.data))
    assert plan_run(explicit_run).parameters == count_parameters(policy)


def test_a_batch_holds_the_frames_own_points(explicit_run: TrainConfig) -> None:
    episodes = open_episodes(explicit_run.data)
    _, preprocessor = build_policy(explicit_run, episodes)
    data = co_training_data(explicit_run, episodes, preprocessor, (0, 1))
    source, frame = data.robot.place(0)
    observation = source.sample(frame, 8, points=True).observation
    assert observation.point_maps is not None
    for view, camera in enumerate(episodes[0].embodiment.cameras):
        np.testing.assert_array_equal(
            observation.point_maps[camera], episodes[0].point_maps(frame)[view].astype(np.float32)
        )
    points = preprocessor.act_tokens([observation]).points_NhwG
    assert points is not None
    assert data[0].robot.tokens.points_NhwG is not None
    np.testing.assert_array_equal(data[0].robot.tokens.points_NhwG[:2], points)
    assert source.sample(frame, 8).observation.point_maps is None


def test_point_maps_must_be_of_one_size() -> None:
    class Fake(EpisodeDataset):
        def __init__(self, size: int) -> None:
            self.path, self.size = Path(f"set{size}"), size

        def point_maps(self, index: int) -> Any:
            return np.zeros((2, self.size, self.size, 3), np.float16)

    assert point_map_size([Fake(24), Fake(24)]) == (24, 24)
    with pytest.raises(ValueError, match="point maps of the data sets differ in size"):
        point_map_size([Fake(24), Fake(12)])


class Still:
    """Does nothing, and is of an embodiment."""

    chunk = 8

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment

    def act(self, observations: Any) -> list[ActionChunk]:
        return [ActionChunk(np.zeros((8, 7), np.float32)) for _ in observations]


def test_the_simulator_shows_points_to_a_policy_that_asks() -> None:
    wanted = replace(TABLETOP, point_map_size=(24, 24))
    server = PolicyServer(Still(wanted))
    task = suite("height")[0]
    benchmark = TabletopBenchmark("height", EVALUATION.start, [task.name], **server.get_observation_params())
    require_agreement(server, benchmark)

    async def first() -> dict[str, Any]:
        await benchmark.start_episode({**benchmark.get_tasks()[0], "episode_idx": 0})
        found: dict[str, Any] = await benchmark.get_observation()
        return found

    seen = decode_observation(anyio.run(first))
    benchmark.cleanup()
    seen.check(wanted)
    assert seen.point_maps is not None
    with World(task) as world:
        world.reset(EVALUATION.start)
        expected = world.point_maps(4).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(np.stack([seen.point_maps[camera] for camera in TABLETOP.cameras]), expected)


def test_other_policies_are_shown_none() -> None:
    server = PolicyServer(Still(TABLETOP))
    assert "point_map_size" not in server.get_observation_params()
    require_agreement(server, TabletopBenchmark("height", EVALUATION.start))
    with pytest.raises(ValueError, match="point_maps/front"):
        require_agreement(
            PolicyServer(Still(replace(TABLETOP, point_map_size=(24, 24)))),
            TabletopBenchmark("height", EVALUATION.start),
        )


def test_recipes_of_the_real_arm_tasks_have_one_budget() -> None:
    plain, full, explicit = (recipe(name) for name in ("real_r1", "real_r7", "real_explicit"))
    assert plain.data == full.data == explicit.data
    assert len({(one.steps, one.batch_size, one.seed, str(one.backbone)) for one in (plain, full, explicit)}) == 1
    assert len({one.output for one in (plain, full, explicit)}) == 3
    assert replace(explicit.method, explicit_points=False, geometry_dim=plain.method.geometry_dim) == plain.method
