"""Co-training: one robot batch and one question batch per step, gradients accumulated, one update."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from thinkvla.checkpoint import save_checkpoint
from thinkvla.data.lerobot_reader import EpisodeDataset
from thinkvla.method.config import MethodConfig
from thinkvla.method.objective import ACTION, REASONING, counts, question_sums, robot_sums, weights
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.reasoning import anchor_similarity
from thinkvla.train.config import TrainConfig
from thinkvla.train.display import Display
from thinkvla.train.mixture import CoTrainingData, MicroBatch
from thinkvla.train.optimizer import build_optimizer, set_learning_rate
from thinkvla.train.precision import matrix_products
from thinkvla.train.provenance import check_provenance, provenance, record_provenance
from thinkvla.train.run_folder import RunFolder
from thinkvla.train.setup import build_policy, co_training_data

SIMILARITY = "anchor_similarity"
HELD_OUT_BATCHES = 16
_LARGEST_SEED = 2**31


class TrainingDiverged(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the term."""


def train(config: TrainConfig, *, resume: bool = False, command: str | None = None) -> Path:
    """Run ``config`` to its end and return the folder of the final policy; ``command`` is kept with the run.

    Raises:
        ValueError: the configuration or the data do not fit; the message says what to change.
        TrainingDiverged: a loss term is NaN or infinite. Checkpoints written before stay.
    """
    with matrix_products(rounded=config.precision == "bf16_matmul"):
        return _train(config, resume=resume, command=command)


def _train(config: TrainConfig, *, resume: bool, command: str | None) -> Path:
    folder = RunFolder(config, resume=resume)
    accelerator = Accelerator(mixed_precision=_precision(config))
    episodes = EpisodeDataset(config.data.episodes)
    policy, preprocessor = build_policy(config, episodes)
    process = (accelerator.process_index, accelerator.num_processes)
    data = co_training_data(config, episodes, preprocessor, process)
    if accelerator.is_main_process:
        if resume:
            check_provenance(folder.path, provenance(config, data, command))
        else:
            folder.create()
            record_provenance(folder.path, provenance(config, data, command))
    optimizer = build_optimizer(policy, config.optimizer)
    begin = folder.restore(policy, optimizer) if resume else 0
    model, prepared = accelerator.prepare(policy.train(), optimizer)  # loading leaves a backbone in evaluation mode
    batches = iter(_loader(data, begin * config.accumulation, config.data.workers))

    with Display(config, folder, begin, main=accelerator.is_main_process) as display:
        for step in range(begin, config.steps):
            # Branch dropout depends on the step alone, so a resumed run continues as an undisturbed one.
            torch.manual_seed((config.seed * 1_000_003 + step * accelerator.num_processes + process[0]) % _LARGEST_SEED)
            waited = time.perf_counter()
            micro_batches = list(islice(batches, config.accumulation))
            waited = time.perf_counter() - waited
            rate = set_learning_rate(prepared, step, config.steps, config.optimizer)
            losses = co_training_step(model, micro_batches, accelerator, config.method, step)
            norm = accelerator.clip_grad_norm_(model.parameters(), config.optimizer.clip)
            prepared.step()
            prepared.zero_grad()
            samples = config.batch_size * config.accumulation * accelerator.num_processes
            display.step(step + 1, losses, rate, float(norm), samples, waited)
            if (step + 1) % config.save_every == 0 and accelerator.is_main_process:
                if data.held_out_frames:
                    display.held_out(step + 1, held_out_error(accelerator.unwrap_model(model), data))
                folder.save(step + 1, accelerator.unwrap_model(model), preprocessor, optimizer)
    final = config.output / "policy"
    if accelerator.is_main_process and not final.exists():
        save_checkpoint(final, accelerator.unwrap_model(model), preprocessor)
    accelerator.wait_for_everyone()
    return final


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
    values = dict.fromkeys((*weight, SIMILARITY), 0.0)
    for number, micro in enumerate(micro_batches):
        robot = micro.robot.to(device)
        questions = micro.questions.to(device) if micro.questions is not None else None
        last = number == len(micro_batches) - 1  # processes exchange gradients with the last micro-batch only
        with nullcontext() if last else accelerator.no_sync(model), accelerator.autocast():
            output, scores = model(robot, questions)
            sums = robot_sums(output, robot)
            if output.anchor_BRD is not None and output.teacher_BRD is not None:
                similarity = anchor_similarity(output.teacher_BRD, output.anchor_BRD)
                values[SIMILARITY] += similarity.sum().item() / count[REASONING]
            if questions is not None:
                sums |= question_sums(scores, questions)
            for term, value in sums.items():
                _check_finite(value, step, term)
                values[term] += value.item() / count[term]
            # Gradients are averaged over processes, hence the factor.
            loss = sum(weight[term] * value / count[term] for term, value in sums.items()) * processes
            accelerator.backward(loss)
    measured = {term: values[term] for term in weight if term in sums}
    if REASONING in measured:
        measured[SIMILARITY] = values[SIMILARITY]
    reduced: Any = accelerator.reduce(torch.tensor(list(measured.values()), device=device), reduction="sum")
    result = dict(zip(measured, reduced.tolist(), strict=True))
    return {"loss": sum(weight[term] * value for term, value in result.items() if term in weight)} | result


@torch.no_grad()
def held_out_error(policy: ThinkVLA, data: CoTrainingData) -> float:
    """Mean L1 of normalized actions on demonstrations that are not trained on."""
    policy.eval()
    error, count = 0.0, 0
    for number in range(HELD_OUT_BATCHES):
        batch = data.held_out(number).to(next(policy.parameters()).device)
        error += robot_sums(policy.think(batch.tokens), batch)[ACTION].item()
        count += counts(batch, None)[ACTION]
    policy.train()
    return error / count


def _check_finite(value: torch.Tensor, step: int, term: str) -> None:
    if not torch.isfinite(value):
        raise TrainingDiverged(
            f"step {step + 1}: the {term} loss is {value.item()}; lower the learning rate, or check the data with "
            "'thinkvla data validate'"
        )


def _precision(config: TrainConfig) -> str:
    if config.precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    return "bf16" if config.precision == "bf16" else "no"


def _loader(data: Any, begin: int, workers: int) -> Iterator[MicroBatch]:
    loader: Any = DataLoader(
        data,
        batch_size=None,
        sampler=range(begin, len(data)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)
