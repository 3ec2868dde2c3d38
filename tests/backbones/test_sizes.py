"""The paper's backbone at its true size, without its weights: parameters by part, added by the method, and trained."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from thinkvla.backbones.build import BackboneConfig, restore_backbone
from thinkvla.backbones.lora import LoraConfig
from thinkvla.backbones.sizes import qwen3_vl_2b
from thinkvla.backbones.tuning import prepare_tuning
from thinkvla.method.config import MethodConfig
from thinkvla.method.policy import ThinkVLA

VISION, LANGUAGE = 1024, 2048
NEW = range(151669, 151678)  # one anchor and eight queries, after the published tokenizer's 151 669 tokens


@pytest.fixture
def policy() -> ThinkVLA:
    config = qwen3_vl_2b()
    with torch.device("meta"):
        backbone = restore_backbone("qwen3_vl", config.to_dict())
        return ThinkVLA(backbone, MethodConfig(), (NEW[0],), tuple(NEW[1:]))


def count(part: nn.Module | None, *, trained: bool = False) -> int:
    assert part is not None
    return sum(p.numel() for p in part.parameters() if p.requires_grad or not trained)


def linear(*widths: int) -> int:
    """Weights and biases of a chain of linear layers."""
    return sum(a * b + b for a, b in pairwise(widths))


def adapters(layer: Iterable[tuple[int, int]], rank: int) -> int:
    return sum(rank * (a + b) for a, b in layer)


def test_parameters_by_part(policy: ThinkVLA) -> None:
    """Each part counted by hand; the whole backbone is what the published model has."""
    block = linear(VISION, 3 * VISION) + linear(VISION, VISION) + linear(VISION, 4 * VISION, VISION) + 4 * VISION
    merged = 4 * VISION
    merger = linear(merged, merged, LANGUAGE)
    patches = 3 * 2 * 16 * 16 * VISION + VISION
    vision = 24 * block + (merger + 2 * VISION) + 3 * (merger + 2 * merged) + patches + 2304 * VISION
    layer = LANGUAGE * (16 + 8 + 8) * 128 + 16 * 128 * LANGUAGE + 3 * LANGUAGE * 6144 + 2 * LANGUAGE + 2 * 128
    language = 151936 * LANGUAGE + 28 * layer + LANGUAGE
    model: Any = policy.backbone
    assert count(model.model.model.visual) == vision
    assert count(model.model.model.language_model) == language
    assert count(model) == vision + language == 2_127_532_032
    assert count(policy.geometry_adapter) == linear(VISION, 2048, 2048) + 2 * 2048
    assert count(policy.reasoning_adapter) == linear(LANGUAGE, LANGUAGE, LANGUAGE) + 2 * LANGUAGE
    assert count(policy.integration) == linear(2048, LANGUAGE, LANGUAGE) + linear(LANGUAGE, LANGUAGE, LANGUAGE)
    wide = 2 * LANGUAGE
    head = 2 * LANGUAGE + linear(LANGUAGE, wide) + 2 * (2 * wide + linear(wide, wide)) + 2 * wide + linear(wide, 7)
    assert count(policy.action_head) == head
    assert count(policy) - count(model) == 73_494_535, "added by the method: 3.5 %"


def test_parameters_trained(policy: ThinkVLA) -> None:
    rows = len(NEW) * LANGUAGE
    lora = BackboneConfig(lora=LoraConfig(rank=16), gradient_checkpointing=True)
    backbone: Any = policy.backbone
    prepare_tuning(backbone, lora, NEW)
    widths = [(LANGUAGE, 2048), (LANGUAGE, 1024), (LANGUAGE, 1024), (2048, LANGUAGE)]
    widths += [(LANGUAGE, 6144), (LANGUAGE, 6144), (6144, LANGUAGE)]
    assert count(backbone, trained=True) == 28 * adapters(widths, 16) + rows == 17_451_008
    assert count(policy, trained=True) == 17_451_008 + 73_494_535


def test_parameters_trained_by_pattern(policy: ThinkVLA) -> None:
    backbone: Any = policy.backbone
    prepare_tuning(backbone, BackboneConfig(tune=("language_model.layers.*",)), NEW)
    layers = count(backbone.model.model.language_model.layers)
    assert count(backbone, trained=True) == layers + len(NEW) * LANGUAGE
