"""A model that answers questions about pictures: a trained policy, or a plain Qwen-VL without robot training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from thinkvla.backbones.build import FAMILIES, BackboneConfig, build_backbone
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.checkpoint import MODEL_TYPE
from thinkvla.contract import Image
from thinkvla.deploy import load_policy
from thinkvla.method.batch import pad_prompts
from thinkvla.method.config import MethodConfig
from thinkvla.method.prompts import Prompts
from thinkvla.preprocessor import prepare_images
from thinkvla.shipped import find_model


@dataclass(frozen=True)
class Question:
    """One question to a model.

    Attributes:
        image: uint8 (H, W, 3) RGB, or None for a question without a picture.
        text: the question, with its options if it has any.
        spatial: whether its answer begins with the reasoning anchor, where the model has one.
    """

    image: Image | None
    text: str
    spatial: bool


class Answerer:
    """Answers by greedy generation, many questions at once.

    Args:
        backbone: the model, on ``device``.
        prompts: how questions are put to it.
        tokenizer: of the backbone.
        image_processor: of the backbone.
        device: where the backbone is.
    """

    def __init__(
        self, backbone: QwenVL, prompts: Prompts, tokenizer: Any, image_processor: Any, device: torch.device
    ) -> None:
        self.backbone = backbone
        self.prompts = prompts
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.device = device

    def answer(self, questions: Sequence[Question], limit: int) -> list[str]:
        """What the model says to each question, as one batch; an answer is cut after ``limit`` tokens.

        Special tokens in an answer stay in its text: a policy that answers with action queries should be seen to.
        """
        pixels, grids, sizes = prepare_images(self.image_processor, [q.image for q in questions if q.image is not None])
        remaining = iter(sizes)
        prompts = [
            self.prompts.ask(q.text, [next(remaining)] if q.image is not None else [], spatial=q.spatial)
            for q in questions
        ]
        tokens = pad_prompts(prompts, pixels, grids).to(self.device)
        answers = self.backbone.generate(tokens, limit, end_id=self.prompts.turn_end[0])
        return [self.tokenizer.decode(answer) for answer in answers]


def load_answerer(folder: Path, device: torch.device | str | None = None) -> Answerer:
    """Load a model that answers questions onto ``device`` (a GPU if there is one).

    Args:
        folder: a checkpoint of thinkvla, a plain Qwen3-VL or Qwen2.5-VL as published on the Hugging Face hub, or the
            name of a shipped model.
        device: where to run it.

    Raises:
        ValueError: the folder holds neither, or is not complete.
    """
    folder = find_model(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: '{folder}' is not a checkpoint folder")
    kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    if kind not in (MODEL_TYPE, *FAMILIES):
        raise ValueError(
            f"{path}: model_type is '{kind}', expected '{MODEL_TYPE}' (a policy's checkpoint) or one of "
            f"{', '.join(FAMILIES)} (a plain vision-language model)"
        )
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == MODEL_TYPE:
        policy = load_policy(folder, device)
        preprocessor, backbone = policy.preprocessor, policy.policy.backbone
        assert isinstance(backbone, QwenVL), "a checkpoint's backbone is a Qwen-VL"
        return Answerer(
            backbone, preprocessor.prompts, preprocessor.tokenizer, preprocessor.image_processor, policy.device
        )
    parts = build_backbone(BackboneConfig(str(folder)), new_tokens=[])
    prompts = Prompts(parts.tokenizer, MethodConfig(reasoning_anchor=False))
    return Answerer(
        parts.backbone.to(device).eval(), prompts, parts.tokenizer, parts.image_processor, torch.device(device)
    )
