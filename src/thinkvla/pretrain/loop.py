"""The loop of every pre-training: optimizer steps, checkpoints to go on from, a line every few seconds.

A run folder has ``config.json``, ``versions.json``, ``metrics.jsonl`` and ``state.pt``. What is trained, on which
batches and for which losses is a :class:`Pretraining`.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader

from thinkvla.train.config import OptimizerConfig, plain
from thinkvla.train.optimizer import learning_rate
from thinkvla.versions import versions

REPORT_SECONDS = 10.0
HELD_OUT_BATCHES = 8


@dataclass(frozen=True)
class PretrainConfig:
    """One run.

    Attributes:
        pictures: folder of what is trained on.
        output: run folder; a run that stopped goes on where its last checkpoint stands.
        steps: optimizer steps.
        batch_size: samples in a step.
        peak_lr: learning rate after the warm-up.
        floor_lr: learning rate at the end of the cosine.
        warmup_steps: linear warm-up.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        seed: of weights and order.
        save_every: steps between checkpoints.
        workers: processes that prepare batches.
    """

    pictures: Path
    output: Path
    steps: int
    batch_size: int = 32
    peak_lr: float = 1.5e-3
    floor_lr: float = 1e-5
    warmup_steps: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500
    workers: int = 1


class Batches(Protocol):
    """Batches by number, a pure function of it."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Any: ...


class Pretraining(Protocol):
    """What the loop trains."""

    @property
    def trained(self) -> nn.Module:
        """Every module that learns."""
        ...

    def batches(self, length: int, *, held_out: bool) -> Batches:
        """``length`` batches, or as many that are never trained on."""
        ...

    def losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimized, and the terms to report, means over the batch."""
        ...


def run(config: PretrainConfig, pretraining: Pretraining) -> None:
    """Train to the end, from where a stopped run of the same configuration left off.

    Raises:
        ValueError: the run was started with another configuration.
        RuntimeError: a loss became NaN or infinite.
    """
    trained = pretraining.trained
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=config.peak_lr, betas=(0.9, 0.95), weight_decay=config.weight_decay
    )
    begin = _restore(config, trained, optimizer)
    schedule = OptimizerConfig(floor_lr=config.floor_lr, warmup_steps=config.warmup_steps)
    loader: Any = DataLoader(
        pretraining.batches(config.steps, held_out=False),  # type: ignore[arg-type]
        batch_size=None,
        sampler=range(begin, config.steps),
        num_workers=config.workers,
    )
    report = _Reporter(config, begin, pretraining)
    for step, batch in enumerate(loader, start=begin):
        rate = learning_rate(step, config.steps, config.peak_lr, schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate
        total, terms = pretraining.losses(batch)
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        last = step + 1 == config.steps
        report.step(step + 1, {name: value.item() for name, value in terms.items()}, rate, last=last)
        if last or (step + 1) % config.save_every == 0:
            _save(config, trained, optimizer, step + 1)


@torch.no_grad()
def held_out_losses(pretraining: Pretraining) -> dict[str, float]:
    """Every loss on HELD_OUT_BATCHES batches that are never trained on, the same in every run."""
    pretraining.trained.eval()
    batches = pretraining.batches(HELD_OUT_BATCHES, held_out=True)
    found = [pretraining.losses(batches[number])[1] for number in range(len(batches))]
    pretraining.trained.train()
    return {name: sum(terms[name].item() for terms in found) / len(found) for name in found[0]}


def _save(config: PretrainConfig, trained: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    config.output.mkdir(parents=True, exist_ok=True)
    partial = config.output / "state.pt.partial"
    torch.save({"step": step, "trained": trained.state_dict(), "optimizer": optimizer.state_dict()}, partial)
    partial.replace(config.output / "state.pt")


def _restore(config: PretrainConfig, trained: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Steps done by an earlier, stopped run of the same configuration; 0 for a new one, whose folder is made."""
    record = config.output / "config.json"
    if not record.is_file():
        config.output.mkdir(parents=True)
        record.write_text(json.dumps(plain(config), indent=2) + "\n", encoding="utf-8")
        (config.output / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n", encoding="utf-8")
        return 0
    if json.loads(record.read_text(encoding="utf-8")) != plain(config):
        raise ValueError(f"{record}: the run was started with another configuration; use the same, or another output")
    state = config.output / "state.pt"
    if not state.is_file():
        return 0
    values = torch.load(state, weights_only=True)
    trained.load_state_dict(values["trained"])
    optimizer.load_state_dict(values["optimizer"])
    return int(values["step"])


class _Reporter:
    """A line every few seconds on the terminal and in metrics.jsonl; held-out losses with every checkpoint."""

    def __init__(self, config: PretrainConfig, begin: int, pretraining: Pretraining) -> None:
        self.config, self.begin, self.pretraining = config, begin, pretraining
        self.console = Console(stderr=True)
        self.started = self.last = time.perf_counter()
        self.values: list[dict[str, float]] = []

    def step(self, step: int, losses: dict[str, float], rate: float, *, last: bool) -> None:
        if not math.isfinite(sum(losses.values())):
            raise RuntimeError(f"pre-training diverged in step {step}; lower peak_lr")
        self.values.append(losses)
        now = time.perf_counter()
        measured = last or step % self.config.save_every == 0
        if not measured and now - self.last < REPORT_SECONDS:
            return
        means = {name: sum(values[name] for values in self.values) / len(self.values) for name in losses}
        speed = len(self.values) * self.config.batch_size / max(now - self.last, 1e-9)
        left = (now - self.started) / (step - self.begin) * (self.config.steps - step)
        row = {"step": step, "learning_rate": rate, "samples_per_second": speed}
        row |= {f"loss/{name}": mean for name, mean in means.items()}
        text = f"step {step}/{self.config.steps}  " + _listed(means)
        if measured:
            found = held_out_losses(self.pretraining)
            row |= {f"held_out/{name}": value for name, value in found.items()}
            text += f"  held out: {_listed(found)}"
        with (self.config.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.console.print(f"{text}  {speed:.0f}/s  left {int(left) // 60}:{int(left) % 60:02d}", highlight=False)
        self.values, self.last = [], time.perf_counter()


def _listed(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())
