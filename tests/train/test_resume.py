"""Exact resume: a run that is killed again and again ends as one that was left alone."""

from __future__ import annotations

import json
import math
import random
import signal
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from processes import forked
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_models import SMALL, write_smallest_backbone

from thinkvla.backbones.build import BackboneConfig
from thinkvla.checkpoint import load_checkpoint
from thinkvla.files import clean_up
from thinkvla.train import display
from thinkvla.train.config import OptimizerConfig, TrainConfig
from thinkvla.train.loop import train
from thinkvla.train.run_folder import STATE, RunFolder

KILLS, STEPS = 50, 90


@pytest.fixture
def tiny_run(small_run: TrainConfig, tmp_path: Path) -> TrainConfig:
    """A run of the full method that is cheap to begin, with a checkpoint after every step."""
    write_smallest_backbone(tmp_path / "backbone")
    return replace(
        small_run,
        method=replace(SMALL, geometry_dim=48, vision_block=1, branch_dropout=0.5),
        backbone=BackboneConfig(str(tmp_path / "backbone")),
        optimizer=OptimizerConfig(backbone_lr=1e-3, head_lr=1e-3, adapter_lr=1e-3, warmup_steps=2),
        steps=STEPS,
        batch_size=1,
        question_batch_size=1,
        precision="float32",
        save_every=1,
    )


def attempt(config: TrainConfig) -> None:
    torch.set_num_threads(1)
    display._SECONDS = 0.0
    train(config, resume=(config.output / "config.json").exists())


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def wait(process: BaseProcess, config: TrainConfig, step: int, seconds: float = math.inf) -> None:
    """Until the run has a checkpoint of that step, its process has ended, or time is up."""
    folder, until = RunFolder(config), time.perf_counter() + seconds
    while process.is_alive() and folder.steps_done() < step and time.perf_counter() < until:
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_fifty_times(tiny_run: TrainConfig, tmp_path: Path) -> None:
    """kill −9 at random moments, from reading the configuration to pruning old checkpoints; then to the end.

    Each attempt goes on from what the killed ones left. After every kill the newest checkpoint is whole; in the end the
    losses of all steps, and the policy, are those of an undisturbed run, bit for bit.
    """
    forked(torch.set_num_threads, 1, output=tmp_path / "nothing.txt").join()  # imports are done from here on
    undisturbed = replace(tiny_run, output=tmp_path / "undisturbed")
    began = time.perf_counter()
    process = forked(attempt, undisturbed, output=tmp_path / "undisturbed.txt")
    wait(process, undisturbed, 1)
    first = time.perf_counter() - began
    process.join()
    assert process.exitcode == 0, (tmp_path / "undisturbed.txt").read_text()
    cycle = (time.perf_counter() - began - first) / (STEPS - 1)

    rng = random.Random(0)
    folder = RunFolder(tiny_run)
    progress = [0]
    for _ in range(KILLS):
        process = forked(attempt, tiny_run, output=tmp_path / "attempt.txt")
        done = progress[-1]
        if rng.random() < 0.4:  # before this attempt's first checkpoint, most likely
            wait(process, tiny_run, done + 2, rng.uniform(0, first))
        else:  # anywhere between two
            wait(process, tiny_run, done + 1)
            wait(process, tiny_run, done + 3, rng.uniform(0, cycle))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "attempt.txt").read_text()
        progress.append(folder.steps_done())
        if progress[-1]:
            newest = folder.checkpoint(progress[-1])
            load_file(newest / "model.safetensors")
            assert torch.load(newest / STATE, weights_only=True)["step"] == progress[-1]
    assert progress == sorted(progress)
    assert len(set(progress)) > KILLS / 3, progress

    process = forked(attempt, tiny_run, output=tmp_path / "attempt.txt")
    process.join()
    assert process.exitcode == 0, (tmp_path / "attempt.txt").read_text()
    assert losses(tiny_run.output) == losses(undisturbed.output)
    assert len(losses(tiny_run.output)) == STEPS
    ours, theirs = (load_file(run / "policy" / "model.safetensors") for run in (tiny_run.output, undisturbed.output))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not list(tmp_path.rglob("*.partial")), "left by killed attempts"
    assert len(folder.checkpoints()) == tiny_run.keep


def test_what_a_kill_leaves_is_no_obstacle(tiny_run: TrainConfig) -> None:
    """Half a checkpoint, a checkpoint half removed, half a policy, half a line, curves of steps to be done again."""
    config = replace(tiny_run, steps=4, save_every=2)
    display_seconds, display._SECONDS = display._SECONDS, 0.0
    try:
        train(config)
        expected, run = losses(config.output), config.output
        (run / "policy").rename(run / "policy.0123abcd.partial")
        (run / "checkpoints" / "step-000004").rename(run / "checkpoints" / "step-000004.89abcdef.partial")
        (run / "checkpoints" / "step-000006.00000000.partial").mkdir()
        (run / "metrics.jsonl.44444444.partial").write_text("")
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"step": 5, "loss": 0.1')
        train(config, resume=True)
    finally:
        display._SECONDS = display_seconds
    assert losses(run) == expected
    assert not list(run.rglob("*.partial"))
    load_checkpoint(run / "policy")
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]


def test_a_broken_log_is_named(tiny_run: TrainConfig) -> None:
    config = replace(tiny_run, steps=3, save_every=3)
    train(config)
    log = config.output / "metrics.jsonl"
    log.write_text("nonsense\n" + log.read_text())
    (config.output / "policy").rename(config.output / "elsewhere")  # a run that is through has no use for its log
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1: expected a JSON object with 'step', got 'nonsense'"):
        train(config, resume=True)


def test_resume_keeps_the_step_and_nothing_else(tiny_run: TrainConfig) -> None:
    """Workers and where the folder stands may change; a step's samples may not."""
    config = replace(tiny_run, steps=3, save_every=3)
    train(config)
    moved = config.output.rename(config.output.with_name("moved"))
    split = replace(config, output=moved, batch_size=1, question_batch_size=2)
    with pytest.raises(
        ValueError, match=r"a step of this run holds 1 questions, now it would hold 2: question_batch_size 2"
    ):
        train(split, resume=True)
    assert train(replace(config, output=moved), resume=True) == moved / "policy"


def test_partial_names_are_cleaned_one_by_one(tmp_path: Path) -> None:
    for name in ("run.0123abcd.partial", "other.0123abcd.partial", "run.partial", "run"):
        (tmp_path / name).mkdir()
    clean_up(tmp_path, "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.0123abcd.partial", "run", "run.partial"]
