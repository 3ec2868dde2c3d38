"""Co-training: one robot batch and one question batch per step, gradients accumulated, one update."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader

from thinkvla.checkpoint import load_adapters, load_weights
from thinkvla.method.config import MethodConfig
from thinkvla.method.objective import ACTION, REASONING, counts, question_sums, robot_sums, weights
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.reasoning import anchor_similarity
from thinkvla.preprocessor import Preprocessor
from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.train import distribution
from thinkvla.train.config import TrainConfig
from thinkvla.train.display import Display
from thinkvla.train.mixture import CoTrainingData, MicroBatch
from thinkvla.train.online import with_features
from thinkvla.train.optimizer import set_learning_rate
from thinkvla.train.precision import matrix_products
from thinkvla.train.provenance import describe_data
from thinkvla.train.run_folder import STATE, RunFolder
from thinkvla.train.setup import build_policy, co_training_data, online_teacher, open_episodes

SIMILARITY = "anchor_similarity"
HELD_OUT_BATCHES = 16
_LARGEST_SEED = 2**31


class TrainingDiverged(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the term."""


def train(config: TrainConfig, *, resume: bool = False, command: str | None = None) -> Path:
    """Run ``config`` to its end and return the folder of the final policy; ``command`` is kept with the run.

    Every process of a launch by ``torchrun`` or ``accelerate launch`` calls this with the same arguments. An error that
    all of them meet is raised in the main process alone; the others exit.

    Raises:
        ValueError: the configuration or the data do not fit; the message says what to change.
        TrainingDiverged: a loss term is NaN or infinite. Checkpoints written before stay.
    """
    accelerator = distribution.start(config)
    with matrix_products(rounded=config.precision == "bf16_matmul"):
        return _train(config, accelerator, resume=resume, command=command)


def _train(config: TrainConfig, accelerator: Accelerator, *, resume: bool, command: str | None) -> Path:
    main, processes = accelerator.is_main_process, accelerator.num_processes
    folder = RunFolder(config, processes)

    def set_up() -> tuple[ThinkVLA, Preprocessor, CoTrainingData, GeometryTeacher | None]:
        if main:
            folder.check(resume=resume)
        episodes = open_episodes(config.data)
        policy, preprocessor = build_policy(config, episodes)
        data = co_training_data(config, episodes, preprocessor, (accelerator.process_index, processes))
        if main:
            folder.take_up() if resume else folder.create(command)
            folder.record_data(describe_data(config, episodes, data.questions))
        return policy, preprocessor, data, online_teacher(config, episodes)

    policy, preprocessor, data, teacher = distribution.main_first(accelerator, set_up)
    [begin, done] = broadcast_object_list([folder.steps_done(), folder.policy.exists()])
    if done:
        return folder.policy
    if begin:
        weights_file = folder.checkpoint(begin) / "model.safetensors"
        load_weights(policy, weights_file)
        load_adapters(folder.checkpoint(begin) / "training", policy, weights_file)
    policy.train()  # loading leaves a backbone in evaluation mode
    model, optimizer = distribution.distribute(policy, config, accelerator)
    if begin:
        state = torch.load(folder.checkpoint(begin) / STATE, map_location="cpu", weights_only=True, mmap=True)
        distribution.load_optimizer_state(optimizer, model, accelerator, state["optimizer"], folder.shards(begin))
    batches = iter(_loader(data, begin * config.accumulation, config.data.workers))

    with Display(config, folder, begin, main=main) as display:
        for step in range(begin, config.steps):
            # What is random in a step depends on the step alone, so a resumed run continues as an undisturbed one.
            torch.manual_seed((config.seed * 1_000_003 + step * processes + accelerator.process_index) % _LARGEST_SEED)
            waited = time.perf_counter()
            micro_batches = list(islice(batches, config.accumulation))
            waited = time.perf_counter() - waited
            micro_batches = with_draws(micro_batches, config, step, accelerator)
            micro_batches = [_taught(micro, teacher, accelerator.device) for micro in micro_batches]
            if distribution.shares(config.distribution, accelerator):
                micro_batches = [_same_road(micro) for micro in micro_batches]
            rate = set_learning_rate(optimizer, step, config.steps, config.optimizer)
            losses = co_training_step(model, micro_batches, accelerator, config.method, step)
            norm = distribution.clip(model, accelerator, config.optimizer.clip)
            optimizer.step()
            optimizer.zero_grad()
            samples = config.batch_size * config.accumulation * processes
            display.step(step + 1, losses, rate, norm, samples, waited)
            if (step + 1) % config.save_every == 0:
                if data.robot.held_out_frames:
                    display.held_out(step + 1, held_out_error(model, data, teacher, accelerator))
                shards = folder.shards(step + 1)
                state = distribution.whole_optimizer_state(optimizer, model, accelerator, shards)
                tensors = distribution.whole_weights(policy, accelerator)
                if main:
                    folder.save(step + 1, policy, tensors, preprocessor, state)
    tensors = distribution.whole_weights(policy, accelerator)
    if main:
        folder.finish(policy, tensors, preprocessor)
    accelerator.wait_for_everyone()
    return folder.policy


def with_draws(
    micro_batches: list[MicroBatch], config: TrainConfig, step: int, accelerator: Accelerator
) -> list[MicroBatch]:
    """Micro-batches of a step with the random numbers of branch dropout.

    They are drawn for all samples of the step at once, in the order of the data stream, so a sample's do not depend on
    how many processes and micro-batches the step is cut into.
    """
    if config.method.branch_dropout == 0:
        return micro_batches
    processes, size = accelerator.num_processes, config.batch_size
    generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) % _LARGEST_SEED)
    draws_2G = torch.rand(2, size * config.accumulation * processes, generator=generator)
    parts = draws_2G.T.split(size)[accelerator.process_index :: processes]
    return [
        replace(micro, robot=replace(micro.robot, draws_B2=part))
        for micro, part in zip(micro_batches, parts, strict=True)
    ]


def co_training_step(
    model: ThinkVLA,
    micro_batches: list[MicroBatch],
    accelerator: Accelerator,
    config: MethodConfig,
    step: int,
) -> dict[str, float]:
    """Accumulate the gradient of the step's objective; returns the value of each term, and their sum as ``loss``.

    With distillation there is also ``anchor_similarity``, the cosine between the anchor's hidden states under the
    action prompt and under the reasoning prompt (the paper's prompt-induced reasoning gap is one minus it).

    Each term is divided by its count over all micro-batches and processes, so the gradient is that of one large
    batch, however it was cut.
    """
    device, processes = accelerator.device, accelerator.num_processes
    weight = weights(config)
    local = torch.zeros(len(weight), device=device)
    for micro in micro_batches:
        found = counts(micro.robot, micro.questions)
        local += torch.tensor([float(found.get(term, 0)) for term in weight], device=device)
    total: Any = accelerator.reduce(local, reduction="sum")
    count = dict(zip(weight, total.tolist(), strict=True))
    values: dict[str, torch.Tensor] = {}
    for number, micro in enumerate(micro_batches):
        robot = micro.robot.to(device)
        questions = micro.questions.to(device) if micro.questions is not None else None
        # Processes exchange gradients with the last micro-batch only, unless they do not hold all of them (FSDP).
        last = number == len(micro_batches) - 1
        accelerator.sync_gradients = last  # DeepSpeed makes its step with the micro-batch that this is set for
        with nullcontext() if last else accelerator.no_sync(model), accelerator.autocast():
            output, scores = model(robot, questions)
            sums = robot_sums(output, robot)
            if questions is not None:
                sums |= question_sums(scores, questions)
            # Gradients are averaged over processes, hence the factor.
            loss = sum(weight[term] * value / count[term] for term, value in sums.items()) * processes
            accelerator.backward(loss)
        means = {term: value.detach() / count[term] for term, value in sums.items()}
        if output.anchor_BRD is not None and output.teacher_BRD is not None:
            means[SIMILARITY] = anchor_similarity(output.teacher_BRD, output.anchor_BRD).sum() / count[REASONING]
        for term, mean in means.items():
            values[term] = values.get(term, 0) + mean
    reduced: Any = accelerator.reduce(torch.stack(list(values.values())), reduction="sum")
    result = dict(zip(values, reduced.tolist(), strict=True))
    for term, value in result.items():
        if term in weight and not math.isfinite(value):
            distribution.give_up(accelerator, _diverged(step, term, value))
    return {"loss": sum(weight[term] * value for term, value in result.items() if term in weight)} | result


@torch.no_grad()
def held_out_error(
    model: Any, data: CoTrainingData, teacher: GeometryTeacher | None, accelerator: Accelerator
) -> float:
    """Mean L1 of normalized actions on demonstrations that are not trained on; processes share the work."""
    model.eval()
    found = torch.zeros(2, device=accelerator.device)
    for first in range(0, HELD_OUT_BATCHES, accelerator.num_processes):
        number = first + accelerator.process_index
        batch = data.held_out(min(number, HELD_OUT_BATCHES - 1))
        batch = with_features(batch, teacher, accelerator.device).to(accelerator.device)
        with accelerator.autocast():
            error = robot_sums(model(batch)[0], batch)[ACTION]
        if number < HELD_OUT_BATCHES:  # else computed to keep step with the other processes
            found += torch.stack([error, error.new_tensor(counts(batch, None)[ACTION])])
    model.train()
    distribution.settle(model)
    total: Any = accelerator.reduce(found, reduction="sum")
    return float(total[0] / total[1])


def _taught(micro: MicroBatch, teacher: GeometryTeacher | None, device: torch.device) -> MicroBatch:
    return replace(micro, robot=with_features(micro.robot, teacher, device))


def _same_road(micro: MicroBatch) -> MicroBatch:
    if micro.questions is None:
        return micro
    return replace(micro, questions=distribution.same_road(micro.questions, micro.robot))


def _diverged(step: int, term: str, value: float) -> TrainingDiverged:
    return TrainingDiverged(
        f"step {step + 1}: the {term} loss is {value}; lower the learning rate, or check the data with "
        "'thinkvla data validate'"
    )


def _loader(data: Any, begin: int, workers: int) -> Iterator[MicroBatch]:
    loader: Any = DataLoader(
        data,
        batch_size=None,
        sampler=range(begin, len(data)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)
