"""A checkpoint acts as the policy it was saved from, and anything that does not fit is one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import EMBODIMENT, build, observation, with_switches

from thinkvla.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from thinkvla.contract import ContractError
from thinkvla.deploy import DeployedPolicy, load_policy


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DeployedPolicy]:
    policy, preprocessor = build(with_switches(anchor_tokens=8, fusion="gate", pooling="attention"))
    folder = tmp_path_factory.mktemp("checkpoint") / "policy"
    save_checkpoint(folder, policy, preprocessor)
    return folder, DeployedPolicy(policy, preprocessor)


def test_round_trip(saved: tuple[Path, DeployedPolicy]) -> None:
    folder, original = saved
    loaded = load_policy(folder, "cpu")
    observations = [observation("put the red cube on the plate", 1), observation("lift it", 2)]
    for ours, theirs in zip(loaded.act(observations), original.act(observations), strict=True):
        assert ours.actions.shape == (8, 7)
        assert np.array_equal(ours.actions, theirs.actions)
    assert loaded.embodiment == EMBODIMENT
    assert loaded.policy.config == original.policy.config


def test_batch_equals_one_at_a_time(saved: tuple[Path, DeployedPolicy]) -> None:
    _, policy = saved
    observations = [observation("put the red cube on the plate", 1), observation("lift it", 2)]
    for at_once, text in zip(policy.act(observations), observations, strict=True):
        np.testing.assert_allclose(at_once.actions, policy.act([text])[0].actions, atol=1e-5)


def test_observation_is_checked(saved: tuple[Path, DeployedPolicy]) -> None:
    _, policy = saved
    seen = observation("lift it")
    with pytest.raises(ContractError, match="camera 'wrist' is missing"):
        policy.act([type(seen)({"front": seen.images["front"]}, "lift it")])


def test_existing_folder_is_kept(saved: tuple[Path, DeployedPolicy]) -> None:
    folder, policy = saved
    before = fingerprint(folder)
    with pytest.raises(ValueError, match="exists"):
        save_checkpoint(folder, policy.policy, policy.preprocessor)
    assert fingerprint(folder) == before


def copy(folder: Path, target: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    config = json.loads((target / "config.json").read_text())
    edit(config)
    (target / "config.json").write_text(json.dumps(config))
    return target


def set_key(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(config: dict[str, Any]) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_key("model_type", value="pi0"), r"config.json: model_type is 'pi0', expected 'thinkvla'"),
        (set_key("backbone", "family", value="smolvlm"), r"backbone family 'smolvlm' is unknown"),
        (
            set_key("method", "anchor_token", value=1),
            r"unknown key 'method.anchor_token'; did you mean 'anchor_tokens'",
        ),
        (set_key("method", "chunk", value=9), r"expected 8 anchor and 9 query token ids"),
        (set_key("method", "reasoning_adapter", value=False), r"'reasoning_adapter.* is not part of this architecture"),
        (set_key("method", "geometry_dim", value=25), r"'geometry_adapter.*has shape .*, expected"),
    ],
)
def test_another_architecture(
    saved: tuple[Path, DeployedPolicy], tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_checkpoint(copy(saved[0], tmp_path / "edited", edit))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "thinkvla_preprocessor.json"])
def test_missing_file_is_named(saved: tuple[Path, DeployedPolicy], tmp_path: Path, name: str) -> None:
    folder = copy(saved[0], tmp_path / "cut", lambda config: None)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        load_checkpoint(folder)


def test_missing_tensor_is_named(saved: tuple[Path, DeployedPolicy], tmp_path: Path) -> None:
    folder = copy(saved[0], tmp_path / "cut", lambda config: None)
    tensors = load_file(folder / "model.safetensors")
    del tensors["action_head.layers.0.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"'action_head.layers.0.weight' is missing"):
        load_checkpoint(folder)


def test_fingerprint_follows_the_weights(saved: tuple[Path, DeployedPolicy], tmp_path: Path) -> None:
    folder = copy(saved[0], tmp_path / "changed", lambda config: None)
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))
    tensors[name] = tensors[name] + torch.ones(1)
    save_file(tensors, folder / "model.safetensors")
    assert fingerprint(folder) != fingerprint(saved[0])


def test_output_head_is_stored_once(saved: tuple[Path, DeployedPolicy]) -> None:
    names = load_file(saved[0] / "model.safetensors").keys()
    assert sum("embed_tokens" in name or "lm_head" in name for name in names) == 1
    loaded, _ = load_checkpoint(saved[0])
    model: Any = loaded.backbone
    assert model.model.lm_head.weight.data_ptr() == model.model.get_input_embeddings().weight.data_ptr()
