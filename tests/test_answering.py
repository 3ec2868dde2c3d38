"""Models that answer questions: a policy's checkpoint with the anchor given, a plain Qwen3-VL without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import build, with_switches
from transformers import Qwen3VLForConditionalGeneration

from thinkvla.answering import Answerer, Question, load_answerer
from thinkvla.backbones.tiny import tiny_config, tiny_image_processor, tiny_tokenizer
from thinkvla.checkpoint import save_checkpoint
from thinkvla.method.config import MethodConfig

QUESTIONS = [
    Question(np.full((96, 96, 3), 90, np.uint8), "Which is closer to the camera?\nA. red cube\nB. blue ball", True),
    Question(np.full((96, 96, 3), 200, np.uint8), "What colour is the cube?", False),
    Question(None, "Say yes.", False),
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy") / "policy"
    save_checkpoint(folder, *build())
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model in the layout of a published Qwen3-VL."""
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(3)
    tokenizer = tiny_tokenizer()
    Qwen3VLForConditionalGeneration._from_config(tiny_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tiny_image_processor().save_pretrained(folder)
    return folder


def asked(model: Answerer, question: Question) -> str:
    """The prompt of a question, as text."""
    sizes = [] if question.image is None else [16]
    return str(model.tokenizer.decode(model.prompts.ask(question.text, sizes, spatial=question.spatial).ids))


def test_a_policy_gets_its_anchor_for_spatial_questions(policy: Path) -> None:
    model = load_answerer(policy, "cpu")
    assert asked(model, QUESTIONS[0]).endswith("assistant\n<|reasoning_0|>")
    assert asked(model, QUESTIONS[1]).endswith("What colour is the cube?<|im_end|>\n<|im_start|>assistant\n")


def test_a_plain_model_and_a_policy_without_anchor_get_none(plain: Path, tmp_path: Path) -> None:
    config: MethodConfig = with_switches(reasoning_anchor=False, reasoning_adapter=False)
    save_checkpoint(tmp_path / "r3", *build(config))
    for folder in (plain, tmp_path / "r3"):
        assert asked(load_answerer(folder, "cpu"), QUESTIONS[0]).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("kind", ["policy", "plain"])
def test_answers_together_are_those_alone_and_repeat(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    model = load_answerer(folder, "cpu")
    together = model.answer(QUESTIONS, limit=6)
    assert [model.answer([question], limit=6)[0] for question in QUESTIONS] == together
    assert load_answerer(folder, "cpu").answer(QUESTIONS, limit=6) == together
    assert all(together)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json is missing: .* is not a checkpoint folder"):
        load_answerer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(ValueError, match=r"model_type is 'qwen2', expected 'thinkvla' .* one of qwen3_vl, qwen2_5_vl"):
        load_answerer(tmp_path)
