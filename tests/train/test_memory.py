"""Memory of a run: counted on small models, exact where it claims to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import SMALL, build, question_batch, robot_batch
from torch import Tensor

from thinkvla.backbones.build import BackboneConfig
from thinkvla.backbones.tuning import prepare_tuning
from thinkvla.method.objective import question_sums, robot_sums
from thinkvla.train.memory import Memory, Parameters, Size, count_parameters, expected_memory, extrapolate, held_bytes

counts = st.integers(min_value=1, max_value=64)
bytes_ = st.integers(min_value=0, max_value=10**9)


@given(st.lists(bytes_, min_size=6, max_size=6), bytes_, counts, counts, counts, counts)
def test_extrapolation_is_exact_for_what_it_assumes(
    per: list[int], weights: int, layers: int, blocks: int, samples: int, questions: int
) -> None:
    def kept(size: Size) -> int:
        robot = size.samples * (per[0] + per[1] * size.layers + per[2] * size.blocks)
        asked = size.questions * (per[3] + per[4] * size.layers + per[5] * size.blocks)
        return robot + asked + weights * (size.layers + size.blocks)  # copies of the weights are shared

    wanted = Size(layers, blocks, samples, questions)
    assert extrapolate(kept, wanted) == kept(wanted)


def test_parameters_are_counted_once_and_by_who_trains_them() -> None:
    policy, _ = build()
    tied = policy.backbone.model.lm_head.weight  # type: ignore[attr-defined]
    everything = sum(p.numel() for p in policy.backbone.parameters())  # type: ignore[attr-defined]
    policy.backbone.requires_grad_(False)  # type: ignore[attr-defined]
    found = count_parameters(policy)
    assert tied is policy.backbone.model.get_input_embeddings().weight  # type: ignore[attr-defined]
    assert found.backbone == found.frozen == everything
    assert found.method == found.trained > 0


def test_held_bytes_are_what_autograd_keeps() -> None:
    """Against the tensors that autograd itself says it saves, and nothing where nothing is differentiated."""
    policy, preprocessor = build()
    policy.train()
    robot, questions = robot_batch(preprocessor), question_batch(preprocessor)
    parts = (robot, robot.tokens, questions, questions.tokens)
    batch = [value for part in parts for value in vars(part).values() if isinstance(value, Tensor)]
    given = (*policy.parameters(), *batch)
    own = {tensor.untyped_storage().data_ptr() for tensor in given}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output, scores = policy(robot, questions)
        losses = [*robot_sums(output, robot).values(), *question_sums(scores, questions).values()]
    reference = sum(tensor.untyped_storage().nbytes() for address, tensor in saved.items() if address not in own)
    everything = held_bytes(policy, robot, questions)
    assert everything == pytest.approx(reference, rel=0.03)
    assert held_bytes(policy, robot, questions, bf16=True) < everything
    with torch.no_grad():
        assert held_bytes(policy, robot, questions) == 4 * len(losses)


def test_gradient_checkpointing_holds_less() -> None:
    policy, preprocessor = build()
    policy.train()
    robot = robot_batch(preprocessor)
    before = held_bytes(policy, robot, None)
    prepare_tuning(policy.backbone, BackboneConfig(gradient_checkpointing=True), ())  # type: ignore[arg-type]
    assert 0.05 * before < held_bytes(policy, robot, None) < 0.6 * before  # a block's input is held still


def test_frozen_vision_keeps_less() -> None:
    policy, preprocessor = build(replace(SMALL, geometry_adapter=False))
    policy.train()
    robot = robot_batch(preprocessor, policy.config)
    before = held_bytes(policy, robot, None)
    policy.backbone.model.model.visual.requires_grad_(False)  # type: ignore[attr-defined]
    assert held_bytes(policy, robot, None) < 0.8 * before


def test_expected_memory_adds_up() -> None:
    memory = expected_memory(Parameters(backbone=100, method=20, trained=50), activations=7, teacher=3)
    assert memory == Memory(parameters=480, gradients=200, optimizer=400, activations=7, teacher=3)
    assert memory.total == 1090
