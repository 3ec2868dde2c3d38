"""Training on two processes: the same numbers as on one, checkpoints for any number, one message for one mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from processes import launch
from safetensors.torch import load_file
from tiny_models import SMALL, build, question_batch, robot_batch, write_smallest_backbone

from thinkvla.backbones.build import BackboneConfig
from thinkvla.checkpoint import load_checkpoint
from thinkvla.cli import main
from thinkvla.method.batch import QuestionBatch
from thinkvla.method.objective import counts, question_sums, robot_sums
from thinkvla.preprocessor import Preprocessor, QuestionSample
from thinkvla.train import display
from thinkvla.train.config import DataConfig, OptimizerConfig, TrainConfig
from thinkvla.train.distribution import start, with_picture
from thinkvla.train.loop import train, with_draws
from thinkvla.train.question_stream import QuestionStream
from thinkvla.train.setup import build_policy, co_training_data, open_episodes

STEPS, MIDDLE = 20, 12


@dataclass(frozen=True)
class Runs:
    """Run folders of one training, done in several ways."""

    alone: Path
    ddp: Path
    fsdp: Path
    to_two: Path
    to_one: Path


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def halves(config: TrainConfig, **changes: object) -> TrainConfig:
    """The same steps for two processes."""
    return replace(config, batch_size=2, question_batch_size=2, **changes)  # type: ignore[arg-type]


def train_all(runs: Sequence[tuple[TrainConfig, bool]]) -> None:
    """Several runs one after the other, in one process of a launch."""
    torch.set_num_threads(1)
    display._SECONDS = 0.0
    for config, resume in runs:
        train(config, resume=resume)


def succeed(processes: int, runs: Sequence[tuple[TrainConfig, bool]], output: Path) -> None:
    for code, text in launch(train_all, processes, runs, folder=output):
        assert code == 0, text


def stopped_at(middle: int, run: Path, copy: Path) -> Path:
    """A copy of a run as if it had been killed after the checkpoint of step ``middle``."""
    shutil.copytree(run, copy, ignore=lambda folder, names: [n for n in names if n in ("policy", f"step-{STEPS:06d}")])
    assert [path.name for path in (copy / "checkpoints").glob("step-*")] == [f"step-{middle:06d}"]
    return copy


@pytest.fixture(scope="module")
def config(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """The full method with branch dropout, for one process."""
    folder = tmp_path_factory.mktemp("runs")
    write_smallest_backbone(folder / "backbone")
    return TrainConfig(
        output=folder / "alone",
        data=DataConfig(
            episodes=(str(small_data / "episodes"),),
            spatial_qa=(str(small_data / "spatial_qa"),),
            general_qa=(str(small_data / "general_qa"),),
            workers=0,
        ),
        method=replace(SMALL, geometry_dim=48, vision_block=1, branch_dropout=0.5),
        backbone=BackboneConfig(str(folder / "backbone")),
        optimizer=OptimizerConfig(backbone_lr=1e-3, head_lr=2e-3, adapter_lr=5e-4, warmup_steps=2),
        steps=STEPS,
        batch_size=4,
        question_batch_size=4,
        precision="float32",
        save_every=MIDDLE,
    )


@pytest.fixture(scope="module")
def runs(config: TrainConfig) -> Runs:
    folder = config.output.parent
    succeed(1, [(config, False)], folder / "output")
    ddp, fsdp = halves(config, output=folder / "ddp"), halves(config, output=folder / "fsdp", distribution="fsdp")
    halved_again = replace(fsdp, batch_size=1, question_batch_size=1, accumulation=2)
    to_two = replace(halved_again, output=stopped_at(MIDDLE, config.output, folder / "to_two"))
    succeed(2, [(ddp, False), (fsdp, False), (to_two, True)], folder / "output of two")
    to_one = replace(config, output=stopped_at(MIDDLE, fsdp.output, folder / "to_one"))
    succeed(1, [(to_one, True)], folder / "output of the last")
    return Runs(config.output, ddp.output, fsdp.output, to_two.output, to_one.output)


@pytest.mark.parametrize("kind", ["ddp", "fsdp", "to_two", "to_one"])
def test_processes_change_no_number(runs: Runs, kind: str) -> None:
    """Losses of every step, with branch dropout, and the trained policy: as one process has them.

    Trained by two; begun by one and ended by two, with accumulation; begun by two and ended by one.
    """
    measured, expected = losses(getattr(runs, kind)), losses(runs.alone)
    assert len(expected) == STEPS
    assert measured == pytest.approx(expected, abs=1e-4)
    ours, theirs = (load_file(run / "policy" / "model.safetensors") for run in (getattr(runs, kind), runs.alone))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-3, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs DeepSpeed: pip install 'thinkvla[zero]'")
def test_zero2_changes_no_number(runs: Runs, config: TrainConfig, tmp_path: Path) -> None:
    """ZeRO-2 from the first step; with accumulation; and stopped in the middle."""
    zero = halves(config, output=tmp_path / "zero2", distribution="zero2")
    accumulated = replace(zero, output=tmp_path / "accumulated", batch_size=1, question_batch_size=1, accumulation=2)
    succeed(2, [(zero, False)], tmp_path / "output")
    resumed = replace(zero, output=stopped_at(MIDDLE, zero.output, tmp_path / "resumed"))
    # accelerate allows one DeepSpeed a process, so each run has a launch of its own.
    succeed(2, [(accumulated, False)], tmp_path / "output accumulated")
    succeed(2, [(resumed, True)], tmp_path / "output resumed")
    for run in (zero, accumulated, resumed):
        assert losses(run.output) == pytest.approx(losses(runs.alone), abs=1e-4)


def test_training_moved_the_loss(runs: Runs) -> None:
    """Equal losses would mean little if nothing was learned, or if dropout never struck."""
    found = losses(runs.alone)
    assert found[-1] < 0.9 * found[0]


def train_unevenly(config: TrainConfig) -> None:
    """Of the two processes, the second one's questions all come without a picture."""
    torch.set_num_threads(1)
    if os.environ["RANK"] == "1":
        row = QuestionSample((), (("Say yes.", "yes"),), False)

        def text_alone(stream: QuestionStream, positions: range, preprocessor: Preprocessor) -> QuestionBatch:
            return preprocessor.question_batch([row] * len(positions))

        QuestionStream.batch = text_alone  # type: ignore[method-assign, assignment]
    train(config)


def test_fsdp_in_bf16_with_questions_without_pictures(config: TrainConfig, tmp_path: Path) -> None:
    """The head's parameters stay in float32; processes with and without pictures to look at do not wait in vain."""
    data = replace(config.data, held_out=0.34)
    alone = replace(config, output=tmp_path / "run", data=data, steps=3, save_every=3, precision="bf16")
    for code, text in launch(train_unevenly, 2, halves(alone, distribution="fsdp"), folder=tmp_path / "output"):
        assert code == 0, text
    first, *_, last = (json.loads(line) for line in (alone.output / "metrics.jsonl").read_text().splitlines())
    episodes = open_episodes(data)
    policy, preprocessor = build_policy(alone, episodes)
    batch = co_training_data(alone, episodes, preprocessor, (0, 1))[0]
    [micro] = with_draws([batch], alone, 0, Accelerator(cpu=True))
    exact = robot_sums(policy.think(micro.robot.tokens, micro.robot.draws_B2), micro.robot)["action"]
    assert first["loss/action"] == pytest.approx(exact.item() / counts(micro.robot, None)["action"], rel=0.02)
    assert 0 < last["held_out/action"] < 1
    weights = load_file(alone.output / "policy" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def run_command(arguments: list[str]) -> None:
    sys.argv = ["thinkvla", *arguments]
    main()


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    arguments = ["train", "tabletop_r1", "--output", str(tmp_path / "run")]
    (code, text), (_, other) = launch(run_command, 2, arguments, folder=tmp_path / "output")
    assert code == 2
    assert text.count("exists and is not overwritten") == 1
    assert "exists" not in other
    assert "Traceback" not in text + other


@pytest.mark.slow
def test_torchrun_trains(small_data: Path, tmp_path: Path) -> None:
    """The launcher itself, and the command line under it."""
    options = {
        "output": tmp_path / "run",
        "data.episodes": small_data / "episodes",
        "data.held-out": 0.34,
        "data.workers": 0,
        "backbone.name": "tiny_random",
        "optimizer.warmup-steps": 1,
        "steps": 2,
        "save-every": 2,
        "batch-size": 1,
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "thinkvla", "train", "tabletop_r1"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [str(tmp_path / "run" / "policy")]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["processes"] == 2
    load_checkpoint(tmp_path / "run" / "policy")


def test_questions_without_pictures_keep_their_loss() -> None:
    policy, preprocessor = build()
    robot, pictured = robot_batch(preprocessor), question_batch(preprocessor)
    rows = [QuestionSample((), (turn,), False) for turn in (("Say yes.", "yes"), ("What is one and one?", "two"))]
    questions = preprocessor.question_batch(rows)
    joined = with_picture(questions, robot)
    assert joined.tokens.pixels is not None
    losses = [question_sums(policy.answer(batch), batch)["language"] for batch in (questions, joined)]
    torch.testing.assert_close(*losses)
    assert with_picture(pictured, robot) is pictured


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_accelerates_own_choice_must_not_differ(
    small_run: TrainConfig, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match=rf"{variable}=true.*distribution is 'ddp'.*choose with --distribution"):
        start(small_run)


def test_zero2_needs_deepspeed(small_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)  # as if it were not there, whether it is or not
    with pytest.raises(ValueError, match=r"needs DeepSpeed.*pip install 'thinkvla\[zero\]'"):
        start(replace(small_run, distribution="zero2"))
