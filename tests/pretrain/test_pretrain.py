"""Pre-training: what is said of the pictures is true, and a run leaves a backbone that loads."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from thinkvla.backbones.build import BackboneConfig, build_backbone
from thinkvla.method.batch import QuestionBatch
from thinkvla.method.config import MethodConfig
from thinkvla.method.prompts import IGNORE, Prompts
from thinkvla.pretrain.backbone import BackbonePretrainConfig, pretrain_backbone
from thinkvla.pretrain.batches import PictureBatches, _centres
from thinkvla.pretrain.loop import _Reporter
from thinkvla.pretrain.pictures import (
    COLOUR_CLASSES,
    SHAPE_CLASSES,
    UNSEEN,
    Moment,
    _watch,
    read_pictures,
    write_pictures,
)
from thinkvla.pretrain.pointing import SMALLEST, pointing_loss
from thinkvla.pretrain.scenes import Scene
from thinkvla.tabletop.seeds import seeds

SCENES = 26  # with two moments each, one moment is held out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain") / "pictures"
    write_pictures(folder, ["object", "height"], SCENES, workers=1)
    return folder


@pytest.fixture(scope="module")
def moments() -> list[Moment]:
    return [moment for task in range(4) for moment in _watch(Scene("object", task, 60_000 + task))]


def seen_classes(moment: Moment, view: int, column: int, row: int) -> set[tuple[str, str]]:
    """Shapes and colours of the labels around a place told in percent."""
    labels = moment.labels[view]
    y, x = (round(v / 100 * labels.shape[0] - 0.5) for v in (row, column))
    window = labels[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].reshape(-1, 2)
    return {(SHAPE_CLASSES[s], COLOUR_CLASSES[c]) for s, c in window.tolist()}


def test_told_places_show_what_they_name(moments: list[Moment]) -> None:
    told = shown = 0
    for moment in moments:
        for _, answer in moment.both:
            for line in answer.splitlines()[:2]:
                name, places = line.split(": ")
                colour, shape = name.split()
                for view, place in enumerate(places.split("; ")):
                    if place != UNSEEN:
                        told += 1
                        column, row = map(int, place.split(", "))
                        shown += (shape, colour) in seen_classes(moment, view, column, row)
    assert told > 30
    assert shown / told > 0.9  # the rest stands behind the arm or another thing


def test_nothing_metric_is_said(moments: list[Moment]) -> None:
    for moment in moments:
        for question, answer in [*moment.both, *(turn for view in moment.single for turn in view)]:
            assert not re.search(r"metre|depth|3D|\d\.\d", question + answer)


def test_pictures_come_from_question_seeds_and_are_the_same_again(pictures: Path) -> None:
    images, labels, talk = read_pictures(pictures)
    first = _watch(Scene("object", 0, seeds("training")[50_000]))
    np.testing.assert_array_equal(images[:2], np.stack([moment.images for moment in first]))
    np.testing.assert_array_equal(labels[:2], np.stack([moment.labels for moment in first]))
    assert talk[0]["both"] == [list(turn) for turn in first[0].both]
    assert len(images) == 2 * SCENES


def test_an_incomplete_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images\.npy is missing"):
        read_pictures(tmp_path)
    with pytest.raises(ValueError, match="scenes is 0; expected 1 to 50000"):
        write_pictures(tmp_path / "x", ["object"], 0, workers=1)


def make_batches(pictures: Path, *, held_out: bool = False) -> tuple[PictureBatches, Prompts]:
    parts = build_backbone(BackboneConfig("tiny_random"), [])
    prompts = Prompts(parts.tokenizer, MethodConfig(reasoning_anchor=False))
    batches = PictureBatches(
        pictures, prompts, parts.image_processor, batch_size=4, seed=3, length=5, held_out=held_out
    )
    return batches, prompts


def test_batches_label_answers_and_share_patches(pictures: Path) -> None:
    batches, prompts = make_batches(pictures)
    batch, again = batches[1], batches[1]
    assert torch.equal(batch.talk.tokens.ids_BL, again.talk.tokens.ids_BL)
    talk: QuestionBatch = batch.talk
    spoken = talk.labels_BL != IGNORE
    assert torch.equal(talk.labels_BL[spoken], talk.tokens.ids_BL[spoken])
    answers = prompts.tokenizer.decode(talk.labels_BL[0][spoken[0]])  # type: ignore[attr-defined]
    assert answers.endswith("<|im_end|>\n")
    assert "<|im_start|>" not in answers
    for shares in (batch.shapes_NhwS, batch.colours_NhwC):
        assert shares.shape[1:3] == (8, 8)
        torch.testing.assert_close(shares.sum(-1), torch.ones(shares.shape[:3]))
    assert not set(batches.moments) & set(make_batches(pictures, held_out=True)[0].moments)


def test_a_stopped_run_goes_on_and_its_backbone_loads(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BackbonePretrainConfig(
        pictures, tmp_path / "whole", steps=4, batch_size=2, warmup_steps=1, save_every=2, workers=0
    )
    whole = pretrain_backbone(config)
    stopped = replace(config, output=tmp_path / "stopped")
    step = _Reporter.step

    def dies(self: _Reporter, number: int, losses: dict[str, float], rate: float, *, last: bool) -> None:
        if number == 3:
            raise KeyboardInterrupt
        step(self, number, losses, rate, last=last)

    with monkeypatch.context() as patched:
        patched.setattr(_Reporter, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            pretrain_backbone(stopped)
    again = pretrain_backbone(stopped)
    first, second = (build_backbone(BackboneConfig(str(path)), []).backbone for path in (whole, again))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 4
    assert rows[-1]["held_out/language"] > 0
    with pytest.raises(ValueError, match="started with another configuration"):
        pretrain_backbone(replace(stopped, seed=1))


def test_names_in_instructions_are_found_with_their_places(pictures: Path) -> None:
    """Every mention is the last word of a name, and its places are those that the answer tells."""
    batches, prompts = make_batches(pictures)
    tokenizer = prompts.tokenizer
    found = 0
    for number in range(5):
        batch = batches[number]
        for (row, token), places in zip(batch.mentions_M2.tolist(), batch.places_MV2, strict=True):
            ids = batch.talk.tokens.ids_BL[row]
            name = tokenizer.decode(ids[token - 1 : token + 1]).strip()  # type: ignore[attr-defined]
            rest = tokenizer.decode(ids[token:])  # type: ignore[attr-defined]
            line = next(line for line in rest.splitlines() if line.startswith(f"{name}: "))
            told = [UNSEEN if p.isnan().any() else "{}, {}".format(*(100 * p).round().int().tolist()) for p in places]
            assert line == f"{name}: {'; '.join(told)}"
            found += 1
    assert found > 10


def test_answers_to_instructions_carry_the_places_they_tell(pictures: Path) -> None:
    """Each reply's span begins right before an answer, and its goal is that answer's numbers."""
    batches, prompts = make_batches(pictures)
    batch = next(b for b in map(batches.__getitem__, range(5)) if len(b.replies_K2))
    spans: dict[tuple[int, bytes], list[int]] = {}
    for (row, token), goal in zip(batch.replies_K2.tolist(), batch.goals_K3V2, strict=True):
        spans.setdefault((row, goal.numpy().tobytes()), []).append(token)
    for (row, content), tokens in spans.items():
        assert tokens == list(range(tokens[0], tokens[-1] + 1))
        labels = batch.talk.labels_BL[row]
        assert labels[tokens[0]] == IGNORE
        answer = prompts.tokenizer.decode(labels[tokens[1] : tokens[-1] + 1])  # type: ignore[attr-defined]
        goal = np.frombuffer(content, dtype=np.float32).reshape(3, 2, 2)
        for line, places in zip(answer.removesuffix("<|im_end|>\n").splitlines(), goal, strict=True):
            told = [UNSEEN if np.isnan(p).any() else "{}, {}".format(*np.rint(100 * p).astype(int)) for p in places]
            assert line.split(": ")[1] in ("; ".join(told), told[0])  # the gripper's place is told in one view alone


def test_middles_of_what_patches_show() -> None:
    """A red cube of 6 × 4 labels, a gripper beside it, and table."""
    labels = np.zeros((32, 32, 2), np.uint8)
    labels[...] = SHAPE_CLASSES.index("table"), COLOUR_CLASSES.index("none")
    labels[8:12, 4:10] = SHAPE_CLASSES.index("cube"), COLOUR_CLASSES.index("red")
    labels[8:12, 10:12] = SHAPE_CLASSES.index("gripper"), COLOUR_CLASSES.index("none")
    centres = _centres(labels, 8, 8)
    assert np.isnan(centres).any(axis=-1).sum() == 62
    for column in (1, 2):  # the second patch is half cube, half gripper: the later of two equals counts
        x = 7 / 32 if column == 1 else 11 / 32
        assert centres[2, column].tolist() == pytest.approx([x, 10 / 32])


def test_pointing_loss_by_hand(pictures: Path) -> None:
    """Attention 0.5 at the right image token in the view's head, nothing elsewhere."""
    batch = next(b for b in map(make_batches(pictures)[0].__getitem__, range(5)) if len(b.mentions_M2))
    seen = int((~batch.places_MV2.isnan().any(dim=-1)).sum())
    length = batch.talk.tokens.ids_BL.shape[1]
    is_image = batch.talk.tokens.ids_BL == prompts_image_token(pictures)
    weights = torch.zeros(len(is_image), 4, length, length)
    for (row, token), places in zip(batch.mentions_M2.tolist(), batch.places_MV2.tolist(), strict=True):
        image_tokens = is_image[row].nonzero().flatten().tolist()
        for view, (column, line) in enumerate(places):
            if column == column:  # not NaN
                weights[row, 2 * view, token, image_tokens[16 * view + 4 * int(4 * line) + int(4 * column)]] = 0.5
    loss = pointing_loss([weights, weights], batch, is_image, (4, 4))
    assert seen > 0
    assert loss.item() == pytest.approx(-np.log(0.5 + SMALLEST), rel=1e-5)
    weights.zero_()
    assert pointing_loss([weights], batch, is_image, (4, 4)).item() == pytest.approx(-np.log(SMALLEST), rel=1e-5)


def prompts_image_token(pictures: Path) -> int:
    token: int = make_batches(pictures)[1].tokenizer.convert_tokens_to_ids("<|image_pad|>")  # type: ignore[attr-defined]
    return token
