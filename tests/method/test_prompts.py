"""Where every token of the three prompts stands."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_models import build, question_batch, robot_batch, with_switches

from thinkvla.ablations import ABLATIONS
from thinkvla.method.config import MethodConfig
from thinkvla.method.prompts import IGNORE, PREFIX, STUDENT, TEACHER, anchor_token, new_tokens, query_token
from thinkvla.preprocessor import Preprocessor


def text(preprocessor: Preprocessor, ids: Any) -> str:
    return str(preprocessor.tokenizer.decode(list(ids)))


def parts(preprocessor: Preprocessor, prompt: Any) -> dict[int, str]:
    return {
        segment: text(preprocessor, [i for i, s in zip(prompt.ids, prompt.segments, strict=True) if s == segment])
        for segment in (PREFIX, STUDENT, TEACHER)
    }


def test_co_training_prompt() -> None:
    _, preprocessor = build(with_switches(anchor_tokens=2, chunk=3))
    found = parts(preprocessor, preprocessor.prompts.co_training("lift the cube", [2, 1]))
    images = "<|vision_start|><|image_pad|><|image_pad|><|vision_end|><|vision_start|><|image_pad|><|vision_end|>"
    anchor, turn = "<|reasoning_0|><|reasoning_1|>", "<|im_end|>\n<|im_start|>assistant\n"
    assert found[PREFIX] == f"<|im_start|>user\n{images}lift the cube"
    assert found[STUDENT] == (f"{anchor}\nPredict the next 3 robot actions.{turn}<|action_0|><|action_1|><|action_2|>")
    assert found[TEACHER] == preprocessor.reasoning_text + turn + anchor


def test_deployed_prompt_is_the_student_alone() -> None:
    _, preprocessor = build()
    trained = preprocessor.prompts.co_training("lift the cube", [4])
    acting = preprocessor.prompts.action("lift the cube", [4])
    assert TEACHER not in acting.segments
    assert acting.ids == trained.ids[: len(acting.ids)]


def test_anchor_is_the_first_output_token_of_spatial_answers() -> None:
    _, preprocessor = build(with_switches(anchor_tokens=8))
    for spatial in (True, False):
        prompt = preprocessor.prompts.conversation([("Which is closer?", "The cube.")], [4], spatial=spatial)
        assert prompt.labels is not None
        answered = [label for label in prompt.labels if label != IGNORE]
        anchor = "".join(anchor_token(i) for i in range(8)) if spatial else ""
        assert text(preprocessor, answered) == f"{anchor}The cube.<|im_end|>\n"
        assert list(prompt.ids[-len(answered) :]) == answered
        asked = preprocessor.prompts.ask("Which is closer?", [4], spatial=spatial)
        assert prompt.ids[: len(asked.ids)] == asked.ids
        assert text(preprocessor, asked.ids).endswith(f"assistant\n{anchor}")


@pytest.mark.parametrize("row", ABLATIONS)
def test_ablations_are_switches(row: str) -> None:
    """Which tokens, modules and outputs each row of the paper's table has."""
    qa_data, geometry, reasoning, anchor = ABLATIONS[row]
    config = with_switches(
        qa_data=qa_data, geometry_adapter=geometry, reasoning_adapter=reasoning, reasoning_anchor=anchor
    )
    policy, preprocessor = build(config)
    batch = robot_batch(preprocessor, config)
    output = policy.think(batch.tokens)
    names = {name.split(".")[0] for name, _ in policy.named_parameters()}
    assert ("geometry_adapter" in names) == geometry == (output.features_BVhwG is not None)
    assert ("reasoning_adapter" in names) == reasoning
    distils = row in ("R5", "R6", "R7")
    assert bool((batch.tokens.segments_BL == TEACHER).any()) == distils
    assert (output.student_BRD is not None) == (output.teacher_BRD is not None) == distils
    assert (anchor_token(0) in preprocessor.tokenizer.get_vocab()) == anchor
    if row == "R6":
        assert output.student_BRD is output.anchor_BRD, "without a reasoning adapter the map is the identity"
    if row == "R5":
        assert output.teacher_BRD is not None
        assert output.anchor_BRD is not None
        assert (output.teacher_BRD - output.anchor_BRD).abs().max() > 1e-3, "teacher and student are two places"


def test_new_tokens() -> None:
    config = MethodConfig(anchor_tokens=2, chunk=2)
    assert new_tokens(config) == [anchor_token(0), anchor_token(1), query_token(0), query_token(1)]


def test_question_batch_marks_padding() -> None:
    _, preprocessor = build()
    batch = question_batch(preprocessor)
    lengths = (batch.tokens.segments_BL == PREFIX).sum(dim=1)
    for labels, length in zip(batch.labels_BL, lengths.tolist(), strict=True):
        assert (labels[length:] == IGNORE).all()
        assert labels[length - 1] != IGNORE


@pytest.mark.parametrize(("field", "value"), [("anchor_tokens", 0), ("chunk", 0), ("branch_dropout", 1.0)])
def test_impossible_configuration(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"method.{field} is {value}"):
        with_switches(**{field: value})


def test_images_stand_where_the_questions_say() -> None:
    prompts = build()[1].prompts
    first, second = "<image> or", "this <image>?"
    apart = prompts.conversation([(first, "the one"), (second, "yes")], [1, 2])
    images = [prompts._ids(f"<|vision_start|>{'<|image_pad|>' * n}<|vision_end|>") for n in (1, 2)]
    expected = prompts.turn_start + images[0] + prompts._ids(" or") + prompts.turn_change
    assert list(apart.ids[: len(expected)]) == expected
    assert apart.ids.count(images[0][1]) == 3
    with pytest.raises(ValueError, match="a conversation has 1 images, but says <image> 2 times"):
        prompts.conversation([(first, "the one"), (second, "yes")], [1])
