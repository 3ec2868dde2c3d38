"""The plugin in a real LeRobot: found, acting, training, saved, and with the numbers of thinkvla itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins

from thinkvla.contract import Observation
from thinkvla.data.lerobot_writer import write_episodes
from thinkvla.deploy import load_policy
from thinkvla.method.objective import counts, robot_sums, weights
from thinkvla.preprocessor import RobotSample

register_third_party_plugins()

from lerobot_policy_thinkvla import ThinkVLAConfig  # noqa: E402  (after LeRobot has found it)
from lerobot_policy_thinkvla.modeling_thinkvla import ThinkVLAPolicy  # noqa: E402

CAMERAS = ("front", "wrist")
TASKS = ["put the red cube on the blue plate", "lift the green ball"]


def config(**values: Any) -> ThinkVLAConfig:
    return ThinkVLAConfig(**{"checkpoint": "tabletop_r1", "device": "cpu", "push_to_hub": False} | values)


def seen(count: int = 2, seed: int = 0) -> list[Observation]:
    rng = np.random.default_rng(seed)
    return [
        Observation({c: rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for c in CAMERAS}, TASKS[i % 2])
        for i in range(count)
    ]


def observed(observations: list[Observation]) -> dict[str, Any]:
    """As LeRobot's data sets and robots give them: float, channels first, in [0, 1]."""
    batch: dict[str, Any] = {"task": [o.instruction for o in observations]}
    for camera in CAMERAS:
        images = torch.from_numpy(np.stack([o.images[camera] for o in observations]))
        batch[f"observation.images.{camera}"] = images.permute(0, 3, 1, 2).float() / 255
    return batch


def demonstrated(chunk: int, count: int = 3) -> tuple[dict[str, Any], list[RobotSample]]:
    """A training batch, and the same in thinkvla's form; the last chunk ends early."""
    rng = np.random.default_rng(5)
    observations = seen(count)
    actions = rng.uniform(-1, 1, (count, chunk, 7)).astype(np.float32)
    padded = np.zeros((count, chunk), bool)
    padded[-1, 3:] = True
    samples = [RobotSample(o, actions[i], ~padded[i], None) for i, o in enumerate(observations)]
    batch = observed(observations) | {"action": torch.from_numpy(actions), "action_is_pad": torch.from_numpy(padded)}
    return batch, samples


@pytest.fixture(scope="module")
def policy() -> ThinkVLAPolicy:
    return ThinkVLAPolicy(config())


def test_lerobot_finds_it_by_its_name() -> None:
    """In a process that has heard of nothing but LeRobot."""
    code = (
        "from lerobot.utils.import_utils import register_third_party_plugins\n"
        "from lerobot.configs.policies import PreTrainedConfig\n"
        "assert 'thinkvla' not in PreTrainedConfig.get_known_choices()\n"
        "register_third_party_plugins()\n"
        "print(PreTrainedConfig.get_choice_class('thinkvla').__name__)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "ThinkVLAConfig"
    assert get_policy_class("thinkvla") is ThinkVLAPolicy


def test_actions_are_those_of_the_deployed_policy(policy: ThinkVLAPolicy) -> None:
    deployed = load_policy("tabletop_r1", "cpu")
    for observations in (seen(2), seen(1, seed=3)):
        expected = np.stack([chunk.actions for chunk in deployed.act(observations)])
        chunks = policy.predict_action_chunk(observed(observations))
        np.testing.assert_array_equal(chunks.numpy(), expected)
        policy.reset()
        for step in range(policy.steps):  # pictures of later steps are not looked at until the chunk is over
            action = policy.select_action(observed(observations if step == 0 else seen(len(observations), seed=9)))
            np.testing.assert_array_equal(action.numpy(), expected[:, step])


def test_a_new_episode_looks_again() -> None:
    policy = ThinkVLAPolicy(config(n_action_steps=2))
    first, other = observed(seen(1)), observed(seen(1, seed=4))
    chunk, following = policy.predict_action_chunk(first), policy.predict_action_chunk(other)
    assert torch.equal(policy.select_action(first), chunk[:, 0])
    policy.reset()
    assert torch.equal(policy.select_action(other), following[:, 0])
    assert torch.equal(policy.select_action(first), following[:, 1])
    assert torch.equal(policy.select_action(first), chunk[:, 0]), "two actions of each chunk, then a new one"


def own_loss(policy: ThinkVLAPolicy, samples: list[RobotSample], draws: torch.Tensor | None) -> torch.Tensor:
    """thinkvla's objective, term by term."""
    from dataclasses import replace

    robot = replace(policy.preprocessor.robot_batch(samples), draws_B2=draws)
    output, _ = policy.network(robot=robot)
    output = replace(output, features_BVhwG=None)
    number, weight = counts(robot, None), weights(policy.network.config)
    return sum(weight[term] * total / number[term] for term, total in robot_sums(output, robot).items())


@pytest.mark.parametrize("name", ["tabletop_r1", "tabletop_r7"])
def test_the_loss_is_thinkvlas_own(name: str) -> None:
    policy = ThinkVLAPolicy(config(checkpoint=name, skip_geometry_loss=True))
    batch, samples = demonstrated(policy.network.config.chunk)
    loss, terms = policy.forward(batch)
    torch.testing.assert_close(loss, own_loss(policy, samples, None), rtol=0, atol=0)
    assert set(terms) == ({"action"} if name == "tabletop_r1" else {"action", "reasoning"})
    policy.train()
    torch.manual_seed(3)
    loss, _ = policy.forward(batch)
    torch.manual_seed(3)
    torch.testing.assert_close(loss, own_loss(policy, samples, torch.rand(3, 2)), rtol=0, atol=0)


def test_geometry_targets_are_asked_for() -> None:
    policy = ThinkVLAPolicy(config(checkpoint="tabletop_r7"))
    with pytest.raises(ValueError, match="the policy has a geometry adapter, but the batch has no geometry targets"):
        policy.forward(demonstrated(policy.network.config.chunk)[0])


def test_training_lowers_the_loss_and_acting_sees_it() -> None:
    policy = ThinkVLAPolicy(config(warmup_steps=0, head_lr=1e-3))
    before = policy.predict_action_chunk(observed(seen()))
    optimizer = policy.config.get_optimizer_preset().build(policy.get_optim_params())
    assert [group["lr"] for group in optimizer.param_groups] == [1e-5, 1e-3]
    batch, _ = demonstrated(policy.network.config.chunk)
    policy.train()
    losses = []
    for _ in range(6):
        loss, _ = policy.forward(batch)
        losses.append(float(loss))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.9 * losses[0]
    after = policy.predict_action_chunk(observed(seen()))
    assert not torch.equal(after, before)
    fresh = policy.network.act(policy.preprocessor.act_tokens(seen()))
    expected = np.stack([c.actions for c in policy.preprocessor.action_chunks(fresh)])
    np.testing.assert_allclose(after.numpy(), expected, rtol=0, atol=1e-5)


def test_saved_and_loaded_by_lerobot(policy: ThinkVLAPolicy, tmp_path: Path) -> None:
    before, behind = make_pre_post_processors(policy.config)
    policy.save_pretrained(tmp_path)
    before.save_pretrained(tmp_path)
    behind.save_pretrained(tmp_path)
    assert str(tmp_path) not in (tmp_path / "config.json").read_text()
    loaded_config = PreTrainedConfig.from_pretrained(tmp_path)
    assert isinstance(loaded_config, ThinkVLAConfig)
    loaded = ThinkVLAPolicy.from_pretrained(tmp_path, config=loaded_config)
    batch = observed(seen())
    assert torch.equal(loaded.predict_action_chunk(batch), policy.predict_action_chunk(batch))
    features = {**loaded.config.input_features, **loaded.config.output_features}
    mapping = loaded.config.normalization_mapping
    stats = {"action": {"min": torch.full((7,), -5.0), "max": torch.full((7,), 5.0)}}
    processors = make_pre_post_processors(  # with the overrides of lerobot-train
        loaded.config,
        str(tmp_path),
        preprocessor_overrides={
            "device_processor": {"device": "cpu"},
            "normalizer_processor": {"stats": stats, "features": features, "norm_map": mapping},
        },
        postprocessor_overrides={
            "unnormalizer_processor": {"stats": stats, "features": loaded.config.output_features, "norm_map": mapping}
        },
    )
    batch, _ = demonstrated(8)
    for pre, post in ((before, behind), processors):
        passed = pre(dict(batch))
        for key, value in batch.items():
            assert passed[key] == value if key == "task" else torch.equal(passed[key], value), key
        assert torch.equal(post(batch["action"]), batch["action"])


def test_a_frame_of_a_robot_goes_through(policy: ThinkVLAPolicy) -> None:
    """One observation without a batch dimension, through LeRobot's processors and back."""
    before, behind = make_pre_post_processors(policy.config)
    [one] = seen(1)
    frame = {key: value[0] for key, value in observed([one]).items()}
    policy.reset()
    action = behind(policy.select_action(before(frame)))
    expected = load_policy("tabletop_r1", "cpu").act([one])[0].actions[:1]
    np.testing.assert_array_equal(action.numpy(), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"checkpoint": None}, "policy.checkpoint is not given"),
        ({"checkpoint": "nowhere"}, "'nowhere' is no folder"),
        ({"chunk": 4}, "policy.chunk is 4, but the checkpoint predicts 8"),
        ({"n_action_steps": 9}, "n_action_steps is 9; this policy's chunks allow 1 to 8"),
        ({"embodiment": "moon"}, "does not act for the embodiment 'moon'"),
        ({"speed": "graph"}, None),
        (
            {"input_features": {"observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, 96, 96))}},
            "'observation.images.front' is missing",
        ),
        (
            {"output_features": {"action": PolicyFeature(FeatureType.ACTION, (6,))}},
            r"'action' has shape \(6,\), but the policy was trained for embodiment 'tabletop' with \(7,\)",
        ),
        ({"normalization_mapping": {"ACTION": NormalizationMode.MIN_MAX}}, "would be normalized twice"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str | None) -> None:
    if message is None:
        with pytest.raises(ValueError, match="speed is graph, which records CUDA graphs"):
            ThinkVLAPolicy(config(**values)).predict_action_chunk(observed(seen()))
        return
    with pytest.raises(ValueError, match=message):
        ThinkVLAPolicy(config(**values))


def test_batches_that_do_not_fit_are_named(policy: ThinkVLAPolicy) -> None:
    batch = observed(seen())
    normalized = batch | {"observation.images.front": batch["observation.images.front"] * 2 - 1}
    for wrong, message in (
        ({k: v for k, v in batch.items() if "wrist" not in k}, "the batch has no 'observation.images.wrist'"),
        ({k: v for k, v in batch.items() if k != "task"}, "the batch needs 'task'"),
        (normalized, "values from -1 to 1; expected"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.predict_action_chunk(wrong)
    with pytest.raises(ValueError, match="the batch needs 'action' of shape"):
        policy.forward(batch)


def test_lerobot_train_fine_tunes_it(tmp_path: Path) -> None:
    """LeRobot's own program on a data set that thinkvla wrote; then again from what it saved."""
    embodiment = load_policy("tabletop_r1", "cpu").embodiment
    rng = np.random.default_rng(0)
    with write_episodes(tmp_path / "data", embodiment) as writer:
        for length in (12, 10):
            images = {c: rng.integers(0, 256, (length, 96, 96, 3), dtype=np.uint8) for c in CAMERAS}
            writer.add_episode(images, rng.uniform(-1, 1, (length, 7)).astype(np.float32), TASKS[0], None)
    common = [
        sys.executable, "-m", "lerobot.scripts.lerobot_train", "--dataset.repo_id=local/tabletop",
        f"--dataset.root={tmp_path / 'data'}", "--dataset.video_backend=pyav", "--batch_size=2", "--num_workers=0",
        "--steps=2", "--save_freq=2", "--wandb.enable=false", "--policy.device=cpu",
        "--policy.push_to_hub=false",
    ]  # fmt: skip
    first = ["--policy.type=thinkvla", "--policy.checkpoint=tabletop_r1", f"--output_dir={tmp_path / 'first'}"]
    subprocess.run([*common, *first], check=True, timeout=600)
    saved = tmp_path / "first" / "checkpoints" / "000002" / "pretrained_model"
    assert np.isfinite(load_policy(saved / "thinkvla", "cpu").act(seen(1))[0].actions).all()
    second = [f"--policy.path={saved}", f"--output_dir={tmp_path / 'second'}"]
    subprocess.run([*common, *second], check=True, timeout=600)
