"""Models that come with the package: found by name, complete, and able to do what their cards say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import build

from thinkvla.backbones.build import BackboneConfig, build_backbone
from thinkvla.checkpoint import load_checkpoint, save_checkpoint
from thinkvla.recipes.ship import ship
from thinkvla.shipped import TINY_BASE, find_model, shipped_models

MEGABYTE = 1_000_000


def test_every_shipped_model_has_a_card_and_a_size_for_git() -> None:
    assert {"tiny", "tabletop_r1", "tabletop_r7"} <= shipped_models().keys()
    for name, folder in shipped_models().items():
        assert "license: apache-2.0" in (folder / "README.md").read_text(encoding="utf-8"), name
        assert sum(path.stat().st_size for path in folder.iterdir()) < 20 * MEGABYTE, name


def test_models_are_found_by_folder_or_by_name(tmp_path: Path) -> None:
    assert find_model("tiny") == TINY_BASE
    assert find_model(tmp_path) == tmp_path
    with pytest.raises(ValueError, match=r"'tinny' is no folder, .*shipped are \[.*'tiny'\]"):
        find_model("tinny")


def test_the_tiny_backbone_is_pre_trained_and_float32() -> None:
    trained = build_backbone(BackboneConfig("tiny"), []).backbone
    random = build_backbone(BackboneConfig("tiny_random"), []).backbone
    shapes = {name: tensor.shape for name, tensor in trained.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in random.state_dict().items()}
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["tabletop_r1", "tabletop_r7"])
def test_shipped_policies_load(name: str) -> None:
    policy, preprocessor = load_checkpoint(name)
    assert preprocessor.embodiment.name == "tabletop"
    assert (policy.geometry_adapter is not None) == (name == "tabletop_r7")


def test_shipping_rounds_weights_and_keeps_the_rest(tmp_path: Path) -> None:
    policy, preprocessor = build()
    save_checkpoint(tmp_path / "policy", policy, preprocessor)
    ship(tmp_path / "policy", tmp_path / "shipped")
    for name, tensor in load_file(tmp_path / "shipped" / "model.safetensors").items():
        assert tensor.dtype == torch.bfloat16, name
    again, _ = load_checkpoint(tmp_path / "shipped")
    for a, b in zip(policy.parameters(), again.parameters(), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a.to(torch.bfloat16).float(), b)
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        ship(tmp_path, tmp_path / "nothing")
