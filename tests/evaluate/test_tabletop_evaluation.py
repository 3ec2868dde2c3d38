from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import av
import numpy as np
import pytest

from thinkvla.contract import ActionChunk, ContractError, Observation
from thinkvla.evaluate.expert_policy import ExpertPolicy
from thinkvla.evaluate.options import EvaluateOptions
from thinkvla.evaluate.privileged import PrivilegedObservation
from thinkvla.evaluate.results import EvaluationResult
from thinkvla.evaluate.run import evaluate, evaluate_policy
from thinkvla.evaluate.server import PolicyServer
from thinkvla.evaluate.tabletop_benchmark import TabletopBenchmark
from thinkvla.evaluate.videos import replay
from thinkvla.evaluate.wire import decode_observation, require_agreement
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.expert import Expert
from thinkvla.tabletop.seeds import EVALUATION
from thinkvla.tabletop.suites import suite
from thinkvla.tabletop.world import World

FIRST = EVALUATION.start
TASKS = tuple(task.name for task in suite("object"))


class StillPolicy:
    """Does nothing, in chunks of eight."""

    embodiment = TABLETOP
    chunk = 8

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return [ActionChunk(np.zeros((8, 7), np.float32)) for _ in observations]


def expert_steps(task_name: str, seed: int) -> tuple[bool, int]:
    """Success and steps of the expert in a world of its own, without any server."""
    (task,) = (task for task in suite("object") if task.name == task_name)
    with World(task) as world:
        world.reset(seed)
        expert = Expert(world.scene)
        for step in range(1, task.max_steps + 1):
            world.step(expert.act(world.state()))
            if world.succeeded():
                return True, step
    return False, task.max_steps


def test_observations_are_rendered_only_when_the_policy_looks() -> None:
    benchmark = TabletopBenchmark("object", FIRST, TASKS[:1], observe_every=2)

    async def first_observations() -> list[dict[str, Any]]:
        await benchmark.start_episode({**benchmark.get_tasks()[0], "episode_idx": 3})
        seen = [await benchmark.get_observation()]
        for _ in range(2):
            await benchmark.apply_action({"actions": np.zeros(7, np.float32)})
            seen.append(await benchmark.get_observation())
        return seen

    first, second, third = anyio.run(first_observations)
    benchmark.cleanup()
    decode_observation(first).check(TABLETOP)
    decode_observation(third).check(TABLETOP)
    assert second == {}
    assert not isinstance(decode_observation(first), PrivilegedObservation)
    with World(suite("object")[0]) as world:
        world.reset(FIRST + 3)
        assert np.array_equal(first["images"]["front"], world.observe().images["front"])


def test_episode_ends_at_the_tasks_step_limit() -> None:
    benchmark = TabletopBenchmark("object", FIRST, TASKS[:1])

    async def steps() -> int:
        await benchmark.start_episode({**benchmark.get_tasks()[0], "episode_idx": 0})
        count = 0
        while not await benchmark.is_done():
            await benchmark.apply_action({"actions": np.zeros(7, np.float32)})
            count += 1
        return count

    assert anyio.run(steps) == suite("object")[0].max_steps
    assert benchmark.get_metadata()["max_steps"] >= suite("object")[0].max_steps


def test_expert_asks_for_ground_truth() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    with pytest.raises(ContractError, match="needs ground truth"):
        ExpertPolicy().act([Observation({"front": image, "wrist": image}, "put it there")])


def test_policy_for_other_cameras_is_refused() -> None:
    policy = StillPolicy()
    policy.embodiment = replace(TABLETOP, cameras=("front", "left"))
    with pytest.raises(ContractError, match="images/left"):
        require_agreement(PolicyServer(policy), TabletopBenchmark("object", FIRST))


def test_served_expert_does_what_it_does_alone(tmp_path: Path) -> None:
    output = tmp_path / "evaluation"
    result = evaluate(EvaluateOptions("expert", output, tasks=TASKS[:2], episodes=2, videos=1))
    assert [(e.task, e.seed) for e in result.episodes] == [(t, FIRST + k) for t in TASKS[:2] for k in range(2)]
    for episode in result.episodes:
        assert (episode.success, episode.steps) == expert_steps(episode.task, episode.seed)
        assert episode.error is None
    values = json.loads((output / "results.json").read_text())
    assert values["policy"] == "expert"
    assert values["options"]["execute"] == 1
    assert {"python", "torch", "mujoco", "vla-eval", "transformers", "thinkvla"} <= set(values["versions"])
    (video,) = (output / "videos").iterdir()
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in container.decode(stream)) == 1 + result.episodes[0].steps


@pytest.mark.slow
def test_served_expert_reaches_its_direct_success_rate(tmp_path: Path) -> None:
    result = evaluate(EvaluateOptions("expert", tmp_path / "evaluation", episodes=2, videos=0))
    direct = [expert_steps(episode.task, episode.seed) for episode in result.episodes]
    assert [(episode.success, episode.steps) for episode in result.episodes] == direct
    assert result.total.successes >= 19


def test_perturbed_scenes_are_what_the_expert_solves_what_is_recorded_and_what_is_filmed(tmp_path: Path) -> None:
    output = tmp_path / "evaluation"
    options = EvaluateOptions(
        "expert", output, tasks=TASKS[:1], episodes=1, workers=1, videos=1, perturbation="layout", level=2
    )
    result = evaluate(options)  # filming raises where the replay ends differently
    assert result.total.successes == 1
    loaded = EvaluationResult.load(output)
    assert (loaded.perturbation, loaded.level, loaded.episodes) == ("layout", 2, result.episodes)
    assert [file.name for file in (output / "videos").iterdir()] == [result.episodes[0].video_name]


def test_a_policy_sees_perturbed_pictures_and_words() -> None:
    for axis, field in (("noise", "images"), ("language", "task_description")):
        benchmark = TabletopBenchmark("object", FIRST, TASKS[:1], perturbation=axis, level=3)
        plain = TabletopBenchmark("object", FIRST, TASKS[:1])
        seen = []
        for world in (benchmark, plain):
            world.reset({"name": TASKS[0], "episode_idx": 0})
            seen.append(world.make_obs(None, {}))
            world.cleanup()
        assert str(seen[0][field]) != str(seen[1][field])


def test_policy_in_memory(tmp_path: Path) -> None:
    options = EvaluateOptions("still", tmp_path / "evaluation", tasks=TASKS[:1], episodes=1, workers=3, videos=0)
    result = evaluate_policy(StillPolicy(), options)
    assert (result.total.successes, result.total.episodes, result.total.errors) == (0, 1, 0)
    assert result.options["execute"] == 8
    assert result.fingerprint is None


def test_every_episode_of_a_broken_policy_is_an_error(tmp_path: Path) -> None:
    class Wild(StillPolicy):
        def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
            return [ActionChunk(np.full((8, 7), np.nan, np.float32)) for _ in observations]

    options = EvaluateOptions("wild", tmp_path / "evaluation", tasks=TASKS[:1], episodes=4, workers=1)
    result = evaluate_policy(Wild(), options)
    assert (result.total.episodes, result.total.errors) == (0, 4)
    *tried, never_started = (episode.error or "" for episode in result.episodes)
    assert all("'x' is nan" in error for error in tried)  # after three vla-eval gives this simulator up
    assert "its simulator process ended before it" in never_started


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suite": "objects"}, "did you mean 'object'"),
        ({"tasks": ("fly",)}, r"no task \['fly'\]"),
        ({"episodes": 0}, "episodes is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"perturbation": "lights", "level": 1}, "did you mean 'light'"),
        ({"perturbation": "light"}, "level is 0"),
        ({"level": 2}, "no perturbation is given"),
        ({"first_seed": 99_999}, "not all in one published range"),
        ({"checkpoint": "no/such/folder"}, "is no folder"),
    ],
)
def test_unfit_options_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    options = EvaluateOptions(**{"checkpoint": "expert", "output": tmp_path / "new", **change})
    with pytest.raises(ValueError, match=words):
        evaluate(options)
    assert not (tmp_path / "new").exists()


def test_existing_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exists already"):
        evaluate(EvaluateOptions("expert", tmp_path))


def test_replay_that_ends_differently_is_an_error(tmp_path: Path) -> None:
    options = EvaluateOptions("still", tmp_path / "evaluation", tasks=TASKS[:1], episodes=1, videos=0)
    (episode,) = evaluate_policy(StillPolicy(), options).episodes
    with World(suite("object")[0]) as world, pytest.raises(RuntimeError, match="not deterministic"):
        replay(world, replace(episode, success=True), np.zeros((2, 7), np.float32), tmp_path / "video.mp4")
