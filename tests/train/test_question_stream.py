"""The stream of questions: shares by weight, places by position alone, and the same batches as ever."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import tyro
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_models import build
from torch.utils.data import DataLoader, Dataset

from thinkvla.data.question_writer import write_questions
from thinkvla.data.spatial_qa import QADataset
from thinkvla.method.prompts import PAD
from thinkvla.preprocessor import limit_pixels
from thinkvla.train.config import DataConfig, TrainConfig
from thinkvla.train.order import mixed
from thinkvla.train.question_stream import Mixture, QuestionStream
from thinkvla.train.setup import build_policy, co_training_data, open_episodes, question_stream

AS_EVER = ("fc87c0fdace5c2ba", "490ce3e9caddbd17", "7a02b624544ea0af", "aca570f1c99ec1ae")
"""Batches of one spatial and one general set, recorded before there were several."""


def test_one_set_of_each_kind_gives_the_same_batches_as_ever(small_run: TrainConfig) -> None:
    config = replace(small_run, question_batch_size=4)
    _, preprocessor = build_policy(config, open_episodes(config.data))
    stream = question_stream(config)
    assert stream is not None
    for number, expected in enumerate(AS_EVER):
        batch = stream.batch(range(4 * number, 4 * number + 4), preprocessor)
        assert batch.tokens.pixels is not None
        digest = hashlib.sha256()
        for tensor in (
            batch.tokens.ids_BL,
            batch.labels_BL,
            batch.tokens.segments_BL,
            (batch.tokens.pixels * 127.5).round().to(torch.int16),
        ):
            digest.update(tensor.numpy().tobytes())
        assert digest.hexdigest()[:16] == expected


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.integers(1, 400))
def test_streams_mix_by_weight_with_consecutive_places(weights: list[float], length: int) -> None:
    drawn = [mixed(position, weights) for position in range(length)]
    for number, weight in enumerate(weights):
        places = [place for stream, place in drawn if stream == number]
        assert places == list(range(len(places)))
        assert abs(len(places) - length * weight / sum(weights)) <= len(weights)


class _Set:
    def __init__(self, length: int, name: str) -> None:
        self.length, self.name = length, name

    def __len__(self) -> int:
        return self.length


def test_sets_are_drawn_by_rows_or_by_weight() -> None:
    sets: Any = [_Set(30, "a"), _Set(10, "b")]
    for weights, expected in (((), 300), ((1.0, 1.0), 200), ((1.0, 3.0), 100)):
        stream = QuestionStream([Mixture.of(sets, weights)], [1.0], seed=3, packed=False)
        drawn: Any = [stream.place(position) for position in range(400)]
        assert sum(source.name == "a" for source, _ in drawn) == expected
        first = [row for source, row in drawn if source.name == "b"][:10]
        assert sorted(first) == list(range(10)), "every row once before any comes again"
    again = QuestionStream([Mixture.of(sets, (1.0, 3.0))], [1.0], seed=3, packed=False)
    assert [again.place(position) for position in (399, 7)] == [drawn[399], drawn[7]], "position alone decides"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """General questions of very different lengths and image sizes, as an instruction set has them."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(64):
        words = " ".join(["cube"] * int(rng.lognormal(3, 1)))
        turns = [{"from": "human", "value": "What is there?"}, {"from": "gpt", "value": f"There is {words}."}]
        row: dict[str, Any] = {"conversations": turns * int(rng.integers(1, 4))}
        if number % 4:
            height, width = rng.integers(20, 200, 2)
            Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / f"{number}.png")
            row["image"] = f"{number}.png"
        rows.append(row)
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return tmp_path / "rows.json"


def test_little_padding_on_mixed_lengths(small_run: TrainConfig, published: Path) -> None:
    """Packed batches of a realistic mix hold less than a tenth of padding."""
    data = replace(small_run.data, general_qa=(str(published),))
    _, preprocessor = build()
    shares: dict[bool, list[float]] = {False: [], True: []}
    for packed in (False, True):
        stream = question_stream(replace(small_run, data=replace(data, pack_questions=packed)))
        assert stream is not None
        for start in range(0, 64, 8):
            batch = stream.batch(range(start, start + 8), preprocessor)
            shares[packed].append((batch.tokens.segments_BL == PAD).float().mean().item())
    assert max(shares[True]) < 0.1
    assert np.mean(shares[False]) > 0.3


def test_one_large_picture_is_reduced(tmp_path: Path) -> None:
    _, preprocessor = build()
    processor = preprocessor.image_processor
    image = np.zeros((900, 1600, 3), np.uint8)
    limit_pixels(processor, 96 * 96)
    processor.save_pretrained(tmp_path)
    for each in (processor, type(processor).from_pretrained(tmp_path)):
        grid = each(images=[image], return_tensors="pt")["image_grid_thw"][0].tolist()
        assert grid[1] * grid[2] * each.patch_size**2 <= 96 * 96, "the limit is saved with the policy"
    with pytest.raises(ValueError, match=r"data\.image_pixels is 10, but images for this backbone have \d+ or more"):
        limit_pixels(processor, 10)


def test_broken_images_stop_a_run_or_are_left_out(
    small_run: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with write_questions(tmp_path / "qa") as writer:
        for seed in range(25):
            image = np.full((96, 96, 3), seed, np.uint8)
            writer.add_general(image, [{"question": f"{seed}?", "answer": "yes", "category": ""}])
    (tmp_path / "qa/images/000004.png").unlink()
    data = replace(small_run.data, general_qa=(str(tmp_path / "qa"),), spatial_share=0.0)
    config = replace(small_run, data=data)
    _, preprocessor = build()
    stream = question_stream(config)
    assert stream is not None
    with pytest.raises(ValueError, match=r"000004\.png: the image cannot be read"):
        stream.batch(range(25), preprocessor)
    skipping = replace(config, data=replace(data, skip_unreadable_images=True))
    streams = [question_stream(skipping) for _ in range(2)]
    assert "1 of 25 rows left out, an image cannot be read" in capsys.readouterr().err
    batches = [one.batch(range(24), preprocessor) for one in streams if one is not None]
    assert torch.equal(batches[0].tokens.ids_BL, batches[1].tokens.ids_BL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"spatial_weights": (1.0, 2.0)},
            r"data\.spatial_weights are \(1\.0, 2\.0\); expected one positive number for each of the 1 sets",
        ),
        ({"general_weights": (0.0,)}, r"data\.general_weights are \(0\.0,\)"),
        ({"spatial_share": 1.5}, r"data\.spatial_share is 1\.5"),
    ],
)
def test_impossible_mixtures(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(("e",), spatial_qa=("a",), general_qa=("b",), **change)


def test_workers_read_images_inside_parquet(tmp_path: Path) -> None:
    """Forked workers read from files that the main process has opened, in any order."""
    images = [np.full((8, 8, 3), number, np.uint8) for number in range(12)]
    turns = [{"from": "human", "value": "<image>Who?"}, {"from": "gpt", "value": "A cat."}]
    rows = [{"image": {"bytes": _png(image), "path": None}, "conversations": turns} for image in images]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet", row_group_size=3)
    dataset = QADataset(tmp_path)
    assert dataset[0].images[0].max() == 0
    order = [7, 0, 11, 3, 8, 1]
    loader: Any = DataLoader(_Firsts(dataset), batch_size=None, sampler=order, num_workers=2)
    assert [int(value) for value in loader] == order


class _Firsts(Dataset[int]):
    def __init__(self, dataset: QADataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> int:
        return int(self.dataset[index].images[0][0, 0, 0])


def _png(image: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def test_sets_on_the_command_line(small_run: TrainConfig) -> None:
    options = ["--data.spatial-qa", "a", "hf://b/c@main", "--data.general-qa", "d", "--data.spatial-weights", "2", "1"]
    data = tyro.cli(TrainConfig, default=small_run, args=options).data
    assert data.spatial_qa == ("a", "hf://b/c@main")
    assert data.general_qa == ("d",)
    assert data.spatial_weights == (2.0, 1.0)


def test_processes_walk_one_stream(small_run: TrainConfig) -> None:
    """Packed, two processes with batches of two hold the tokens of one process with batches of four."""
    config = replace(small_run, data=replace(small_run.data, pack_questions=True))
    episodes = open_episodes(config.data)
    _, preprocessor = build_policy(config, episodes)
    halves = [co_training_data(config, episodes, preprocessor, (rank, 2))[1].questions for rank in range(2)]
    whole = co_training_data(replace(config, question_batch_size=4), episodes, preprocessor, (0, 1))[1].questions
    tokens = [
        sorted(id for batch in batches if batch is not None for id in batch.tokens.ids_BL.flatten().tolist() if id)
        for batches in (halves, [whole])
    ]
    assert tokens[0] == tokens[1]
