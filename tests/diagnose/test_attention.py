from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from thinkvla.backbones.attention import attention_weights
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.deploy import load_policy
from thinkvla.diagnose.attention import attend, concentration, diagnose_attention
from thinkvla.diagnose.common import DiagnoseOptions
from thinkvla.diagnose.moments import Moment
from thinkvla.evaluate.diagnosis import Diagnosis


def test_maps_are_the_query_rows_at_the_image_tokens(thinking: Path, seen: list[Moment]) -> None:
    """One prompt after the other, token by token, against the batch with its padding."""
    policy = load_policy(thinking, "cpu")
    found = attend(policy, [moment.observation for moment in seen])
    backbone = policy.policy.backbone
    assert isinstance(backbone, QwenVL)
    for moment, maps in zip(seen, found, strict=True):
        tokens = policy.preprocessor.act_tokens([moment.observation])
        with attention_weights(backbone) as weights:
            policy.policy.act(tokens)
        ids = tokens.ids_BL[0].tolist()
        queries = [place for place, token in enumerate(ids) if token in policy.preprocessor.prompts.queries]
        images = [place for place, token in enumerate(ids) if token == backbone.model.config.image_token_id]
        assert (len(queries), len(images)) == (8, 32)
        assert maps.layers.shape == (4, 2, 4, 4)
        for layer, weight in zip(maps.layers, weights, strict=True):
            expected = np.mean([weight[0, :, query, images].double().mean(0).numpy() for query in queries], axis=0)
            np.testing.assert_allclose(layer.ravel(), expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(maps.mean, maps.layers.mean(0))


def test_pooling_is_the_branchs_own_softmax(thinking: Path, seen: list[Moment]) -> None:
    policy = load_policy(thinking, "cpu")
    maps = attend(policy, [seen[0].observation])[0]
    assert maps.geometry is not None
    assert maps.geometry.shape == (2, 8, 8)
    assert maps.geometry.sum() == pytest.approx(1, abs=1e-5)
    branch = policy.policy.integration.geometry
    assert branch is not None
    assert branch.attend is not None
    tokens = policy.preprocessor.act_tokens([seen[0].observation])
    with torch.no_grad():
        hidden, _ = policy.policy._encode(tokens)
        features = policy.policy.think(tokens).features_BVhwG
        assert features is not None
        queries = hidden[0, torch.isin(tokens.ids_BL[0], policy.policy.query_ids)].double()
        attention = branch.attend.double()
        scores = attention.query(queries) @ attention.key(features[0].flatten(0, 2).double()).T / 128**0.5
    expected = scores.softmax(dim=-1).mean(dim=0).view(2, 8, 8)
    np.testing.assert_allclose(maps.geometry, expected.numpy(), rtol=1e-3)


def test_looking_changes_no_action(thinking: Path, plain: Path, seen: list[Moment]) -> None:
    for checkpoint in (thinking, plain):
        policy = load_policy(checkpoint, "cpu")
        before = policy.act([seen[0].observation])[0].actions
        maps = attend(policy, [seen[0].observation])[0]
        assert (policy.act([seen[0].observation])[0].actions == before).all()
        assert (maps.geometry is None) is (checkpoint == plain)


def test_concentration_compares_with_an_even_spread() -> None:
    names = np.full((2, 8, 8), "table")
    names[1, :2, :2] = "cube"  # one of 2 · 4 · 4 cells, and one more half
    names[1, 2, :2] = "cube"
    even = np.full((2, 4, 4), 1 / 32, np.float32)
    assert concentration(even, names, "cube") == pytest.approx(1)
    alone = np.zeros((2, 4, 4), np.float32)
    alone[1, 0, 0] = 0.3
    assert concentration(alone, names, "cube") == pytest.approx(32 / 1.5)
    assert concentration(alone, names, "table") == pytest.approx(0)
    assert concentration(alone, names, "ball") is None


def test_command_writes_pictures_and_numbers(thinking: Path, plain: Path, tmp_path: Path) -> None:
    output = tmp_path / "attention"
    options = DiagnoseOptions((str(plain), str(thinking)), output, observations=2)
    result = diagnose_attention(options)
    assert Diagnosis.load(output) == result
    assert list(result.numbers) == ["plain (R1)", "thinking (R7)"]
    assert len(result.observations) == 2
    for name, numbers in result.numbers.items():
        share = [numbers[f"share on {camera}"] or 0 for camera in ("front", "wrist")]
        assert 0 < sum(share) < 1
        assert numbers["share on images"] == pytest.approx(sum(share))
        assert (numbers["3D pooling on target, × its area"] is None) is name.startswith("plain")
    assert [picture.file for picture in result.pictures] == [
        "attention-0.png",
        "attention-1.png",
        "layers-0.png",
        "layers-1.png",
    ]
    for picture in result.pictures:
        with Pillow.open(output / picture.file) as image:
            assert len(np.unique(np.asarray(image))) > 50, "a picture shows something"
    with pytest.raises(ValueError, match="exists already"):
        diagnose_attention(options)
