"""The explicit-3D baseline: true points given to the policy, wherever they enter; nothing of it without its switch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import write_published
from tiny_models import EMBODIMENT, INSTRUCTIONS, SMALL, build, observation, question_batch

from thinkvla.backbones.build import BackboneConfig, build_backbone
from thinkvla.checkpoint import load_checkpoint, save_checkpoint
from thinkvla.contract import ContractError, Observation
from thinkvla.deploy import DeployedPolicy, load_policy
from thinkvla.method.config import MethodConfig
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import ACTION_PROMPT, REASONING_PROMPT
from thinkvla.points import CODE_SIZE, LONGEST, SHORTEST, WAVELENGTHS
from thinkvla.preprocessor import Preprocessor, RobotSample

EXPLICIT = MethodConfig("none", False, False, False, vision_block=2, geometry_dim=CODE_SIZE, explicit_points=True)
WITH_POINTS = replace(EMBODIMENT, point_map_size=(24, 24))


def explicit(config: MethodConfig = EXPLICIT) -> tuple[ThinkVLA, Preprocessor]:
    return build(config, embodiment=WITH_POINTS)


def awake(policy: ThinkVLA) -> ThinkVLA:
    """With a point embedding as if it had learned something; it begins at zero."""
    assert policy.point_embedding is not None
    torch.manual_seed(1)
    for parameter in policy.point_embedding.layers[-1].parameters():
        torch.nn.init.normal_(parameter)
    return policy.eval()


def seen(seed: int = 0, moved: float = 0.0) -> Observation:
    rng = np.random.default_rng(seed)
    maps = {name: rng.uniform(-0.5, 0.5, (24, 24, 3)).astype(np.float32) + moved for name in EMBODIMENT.cameras}
    images: Observation = observation(INSTRUCTIONS[seed % 3], seed)
    return replace(images, point_maps=maps)


def codes(points: np.ndarray) -> np.ndarray:
    """(8, 8, 48) of (24, 24, 3), in float64."""
    lengths = SHORTEST * (LONGEST / SHORTEST) ** (np.arange(WAVELENGTHS) / (WAVELENGTHS - 1))
    phase = 2 * np.pi * points.astype(np.float64)[..., None] / lengths
    code = np.stack([np.sin(phase), np.cos(phase)], axis=-2).reshape(24, 24, CODE_SIZE)
    return np.asarray(code.reshape(8, 3, 8, 3, CODE_SIZE).mean(axis=(1, 3)))


def test_tokens_bring_the_codes_of_each_patch() -> None:
    _, preprocessor = explicit()
    one, two = seen(0), seen(1)
    acting = preprocessor.act_tokens([one, two]).points_NhwG
    sample = RobotSample(one, np.zeros((8, 7), np.float32), np.ones(8, bool), None)
    training = preprocessor.robot_batch([sample]).tokens.points_NhwG
    assert acting is not None
    assert training is not None
    assert one.point_maps is not None
    assert two.point_maps is not None
    maps = [*one.point_maps.values(), *two.point_maps.values()]
    np.testing.assert_allclose(acting.numpy(), np.stack([codes(points) for points in maps]), atol=2e-5)
    assert torch.equal(training, acting[:2])


def test_points_join_the_action_queries_as_geometry_does() -> None:
    policy, preprocessor = explicit()
    tokens = preprocessor.act_tokens([seen(0), seen(1)])
    assert policy.integration.geometry is not None
    assert tokens.points_NhwG is not None
    added: list[torch.Tensor] = []
    policy.integration.register_forward_hook(lambda module, inputs, output: added.append(output - inputs[0]))
    policy.eval().act(tokens)
    pooled = tokens.points_NhwG.view(2, -1, CODE_SIZE).double().mean(dim=1, keepdim=True)
    branch = policy.integration.geometry.double()
    torch.testing.assert_close(added[0].double(), branch.project(pooled).expand_as(added[0]), atol=1e-5, rtol=1e-4)


def test_points_join_the_last_vision_block_in_its_order() -> None:
    """Against adding them by hand, in merge order, patch by patch."""
    policy, preprocessor = explicit()
    awake(policy)
    assert policy.point_embedding is not None
    tokens = preprocessor.act_tokens([seen(0)])
    assert tokens.points_NhwG is not None
    embedded = policy.point_embedding(tokens.points_NhwG)
    by_hand = [
        embedded[image, 2 * row + r, 2 * column + c]
        for image in range(2)
        for row in range(4)
        for column in range(4)
        for r in range(2)
        for c in range(2)
    ]
    backbone: Any = policy.backbone
    blocks = backbone.model.model.visual.blocks
    with torch.no_grad():
        hidden, _ = policy._encode(tokens)
        handle = blocks[-1].register_forward_hook(lambda module, inputs, output: output + torch.stack(by_hand))
        expected, _ = policy._encode(replace(tokens, points_NhwG=None))
        handle.remove()
        plain, _ = policy._encode(replace(tokens, points_NhwG=None))
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(hidden, plain, atol=1e-3)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_order_of_every_family_is_undone(tmp_path: Path, family: str) -> None:
    write_published(tmp_path / "model", family)
    backbone = build_backbone(BackboneConfig(str(tmp_path / "model")), []).backbone
    grid = torch.randn(2, 4 * backbone.merge, 6 * backbone.merge, 3)
    ordered = backbone.from_raster(grid)
    torch.testing.assert_close(backbone.raster(ordered, *grid.shape[1:3]), grid, atol=0, rtol=0)


def test_embedding_begins_at_nothing_and_learns() -> None:
    policy, preprocessor = explicit()
    tokens = preprocessor.act_tokens([seen(0)])
    hidden, _ = policy._encode(tokens)
    plain, _ = policy._encode(replace(tokens, points_NhwG=None))
    assert torch.equal(hidden, plain)
    policy.think(tokens).actions_BCA.sum().backward()
    assert policy.point_embedding is not None
    for parameter in policy.point_embedding.layers[-1].parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_actions_depend_on_the_points_at_deployment(tmp_path: Path) -> None:
    policy, preprocessor = explicit()
    save_checkpoint(tmp_path / "policy", awake(policy), preprocessor)
    deployed = DeployedPolicy(*load_checkpoint(tmp_path / "policy"))
    assert deployed.embodiment == WITH_POINTS
    [here], [there], [again] = (deployed.act([seen(0, moved)]) for moved in (0.0, 0.1, 0.0))
    np.testing.assert_array_equal(here.actions, again.actions)
    assert np.abs(here.actions - there.actions).max() > 1e-4
    with pytest.raises(ContractError, match=r"observation.point_maps: expected one for each of"):
        deployed.act([observation("lift it")])


def test_questions_need_no_points() -> None:
    policy, preprocessor = explicit()
    assert policy.answer(question_batch(preprocessor)).isfinite().all()


def test_student_and_teacher_see_the_same_points() -> None:
    config = replace(EXPLICIT, reasoning_adapter=True, reasoning_anchor=True, branch_dropout=0.0)
    policy, preprocessor = explicit(config)
    awake(policy)
    sample = RobotSample(seen(0), np.zeros((8, 7), np.float32), np.ones(8, bool), None)
    tokens = preprocessor.robot_batch([sample]).tokens
    packed, plain = policy.think(tokens), policy.think_twice(tokens)
    torch.testing.assert_close(packed.actions_BCA, plain.actions_BCA, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(packed.teacher_BRD, plain.teacher_BRD, atol=1e-5, rtol=1e-4)


def test_switches_that_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"explicit_points stands in place of method\.geometry_adapter"):
        MethodConfig(explicit_points=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": replace(EXPLICIT, explicit_points=False)}, r"explicit_points is False, but point_map_size .* \(24"),
        ({"embodiment": EMBODIMENT}, "explicit_points is True, but point_map_size .* is None"),
        ({"method": replace(EXPLICIT, geometry_dim=24)}, "geometry_dim is 24, but codes of points .* have 48"),
        ({"crop": 0.9}, r"data\.crop is 0\.9, but method\.explicit_points needs whole views"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    _, made = explicit()
    values: dict[str, Any] = {"embodiment": WITH_POINTS, "method": EXPLICIT, "crop": 1.0} | change
    with pytest.raises(ValueError, match=words):
        Preprocessor(
            values["embodiment"],
            values["method"],
            made.normalizer,
            made.tokenizer,
            made.image_processor,
            ACTION_PROMPT,
            REASONING_PROMPT,
            crop=values["crop"],
        )


def test_a_grid_that_does_not_divide_the_points_is_refused() -> None:
    _, preprocessor = explicit()
    odd = replace(WITH_POINTS, point_map_size=(12, 12))
    other = Preprocessor(
        odd,
        EXPLICIT,
        preprocessor.normalizer,
        preprocessor.tokenizer,
        preprocessor.image_processor,
        ACTION_PROMPT,
        REASONING_PROMPT,
    )
    maps = {name: np.zeros((12, 12, 3), np.float32) for name in EMBODIMENT.cameras}
    with pytest.raises(ValueError, match=r"method\.explicit_points: 12×12 point maps do not divide into the grid 8×8"):
        other.act_tokens([replace(observation("lift it"), point_maps=maps)])


@pytest.mark.parametrize("config", [SMALL, MethodConfig("none", False, False, False, vision_block=2)])
def test_without_the_switch_there_is_nothing_of_it(config: MethodConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, preprocessor = build(config)
    tokens = preprocessor.act_tokens([observation("lift it")])
    assert policy.point_embedding is None
    assert not [name for name in policy.state_dict() if "point" in name]
    assert tokens.points_NhwG is None
    added, encode = [], policy.backbone.encode

    def seen_by(*given: Any) -> Any:
        added.append(given[4])
        return encode(*given)

    monkeypatch.setattr(policy.backbone, "encode", seen_by)
    policy.eval().act(tokens)
    assert added == [None]


@pytest.mark.parametrize("name", ["tabletop_r1", "tabletop_r7"])
def test_shipped_policies_act_as_before(name: str) -> None:
    [chunk] = load_policy(name).act([observation("put the red cube on the plate", 3)])
    np.testing.assert_allclose(chunk.actions[0], BEFORE[name], atol=1e-4)


BEFORE = {
    "tabletop_r1": [0.0045477, 0.0021994, 0.1014537, -0.0056387, -0.0116399, -0.0001887, -0.9989387],
    "tabletop_r7": [0.0035779, 0.0016340, 0.1427591, -0.0013179, -0.0115646, -0.0018563, -1.0],
}
"""The first action, of the release before the switch existed."""
