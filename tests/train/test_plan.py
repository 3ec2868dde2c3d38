"""A dry run's figures, against the policy that would be trained and the memory that its step would take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published import write_published
from rich.console import Console

from thinkvla.backbones.build import BackboneConfig
from thinkvla.backbones.lora import LoraConfig
from thinkvla.train.config import TrainConfig
from thinkvla.train.memory import count_parameters, held_bytes
from thinkvla.train.plan import plan_run, show_plan
from thinkvla.train.setup import build_policy, co_training_data, open_episodes


@pytest.mark.parametrize("packed", [False, True])
def test_figures_are_those_of_the_run(small_run: TrainConfig, packed: bool) -> None:
    config = replace(small_run, data=replace(small_run.data, pack_questions=packed), batch_size=4)
    plan = plan_run(config)
    episodes = open_episodes(config.data)
    policy, preprocessor = build_policy(config, episodes)
    assert plan.parameters == count_parameters(policy)
    micro = co_training_data(config, episodes, preprocessor, (0, 1))[0]
    assert micro.questions is not None
    held = held_bytes(policy.train(), micro.robot, micro.questions)
    assert plan.memory.activations == pytest.approx(held, rel=0.05)
    assert plan.demonstration == tuple(micro.robot.tokens.ids_BL.shape)
    assert plan.asked == tuple(micro.questions.tokens.ids_BL.shape)
    assert plan.frames == sum(len(one) for one in episodes)
    assert plan.steps_per_epoch(2) == plan.frames / 8


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_published_backbones_are_planned_without_their_weights(
    small_run: TrainConfig, tmp_path: Path, family: str
) -> None:
    folder = tmp_path / family
    write_published(folder, family)
    for weights in folder.glob("*.safetensors*"):
        weights.unlink()
    backbone = BackboneConfig(str(folder), lora=LoraConfig(rank=4), gradient_checkpointing=True)
    plan = plan_run(replace(small_run, backbone=backbone))
    assert 0 < plan.parameters.trained < 0.5 * plan.parameters.backbone
    assert plan.memory.gradients == 4 * plan.parameters.trained
    plain = plan_run(replace(small_run, backbone=replace(backbone, gradient_checkpointing=False)))
    assert plan.memory.activations < plain.memory.activations
    console = Console(record=True, width=120)
    show_plan(plan, console)
    assert f"{plan.parameters.trained:,}" in console.export_text()
    assert torch.get_default_device().type == "cpu"


def test_a_run_that_continues_a_policy_is_not_planned(small_run: TrainConfig) -> None:
    with pytest.raises(ValueError, match="start is tabletop_r7: a dry run plans runs that begin with a backbone"):
        plan_run(replace(small_run, start=Path("tabletop_r7")))
