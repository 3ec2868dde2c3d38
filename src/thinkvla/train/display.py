"""Progress of a run on the terminal, in metrics.jsonl and in TensorBoard."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from thinkvla.method.objective import weights
from thinkvla.train.config import TrainConfig
from thinkvla.train.run_folder import RunFolder

_SECONDS = 5.0  # between lines
_SHORT = {"action": "act", "geometry": "geo", "reasoning": "reason", "language": "lang", "anchor_similarity": "similar"}


class Display:
    """Averages steps between lines, and prints one line every few seconds: on a terminal in place, else below.

    Args:
        config: the run.
        folder: where its log goes.
        begin: steps already done.
        main: whether this process reports; the others stay silent.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder, begin: int, *, main: bool) -> None:
        self.config = config
        self.folder = folder
        self.begin = begin
        self.main = main
        self.console = Console(stderr=True)
        self.started = self.last = time.perf_counter()
        self.sums: dict[str, float] = {}
        self.steps = self.samples = 0
        self.waited = 0.0
        self.board: SummaryWriter | None = None
        self.terms = weights(config.method)

    def __enter__(self) -> Self:
        if self.main:
            self.board = SummaryWriter(str(self.folder.path / "tensorboard"), purge_step=self.begin + 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.board is not None:
            self.board.close()
        if self.main and sys.stderr.isatty():
            self.console.print()

    def step(self, step: int, losses: dict[str, float], rate: float, norm: float, samples: int, waited: float) -> None:
        """Take in one finished step; ``waited`` is the time it waited for data, seconds.

        A step that a checkpoint follows is always reported: a resumed run knows nothing of steps before it.
        """
        if not self.main:
            return
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1
        self.samples += samples
        self.waited += waited
        now = time.perf_counter()
        due = step in (self.config.steps, self.begin + 1) or step % self.config.save_every == 0
        if due or now - self.last >= _SECONDS:
            self._report(step, rate, norm, now)

    def held_out(self, step: int, error: float) -> None:
        """Log the action error on held-out demonstrations."""
        if not self.main:
            return
        self.folder.log({"step": step, "held_out/action": error})
        assert self.board is not None
        self.board.add_scalar("held_out/action", error, step)
        self.console.print(f"step {step}  held-out action error {error:.4f}", highlight=False)

    def _report(self, step: int, rate: float, norm: float, now: float) -> None:
        seconds = max(now - self.last, 1e-9)
        means = {name: total / self.steps for name, total in self.sums.items()}
        left = (now - self.started) / (step - self.begin) * (self.config.steps - step)
        values = {
            "step": step,
            "time": round(now - self.started, 2),
            "loss": means.pop("loss"),
            **{f"loss/{name}" if name in self.terms else name: value for name, value in means.items()},
            "learning_rate": rate,
            "gradient_norm": norm,
            "samples_per_second": self.samples / seconds,
            "data_wait": self.waited / seconds,
        }
        self.folder.log(values)
        assert self.board is not None
        for name, value in values.items():
            if name != "step":
                self.board.add_scalar(name, value, step)
        terms = "  ".join(f"{_SHORT.get(name, name)} {value:.4f}" for name, value in means.items())
        line = (
            f"step {step}/{self.config.steps}  loss {values['loss']:.4f}  {terms}  lr {rate:.1e}  "
            f"{values['samples_per_second']:.1f} samples/s  data wait {values['data_wait']:.0%}  "
            f"left {int(left) // 60}:{int(left) % 60:02d}"
        )
        self.console.print(line, end="\r" if sys.stderr.isatty() else "\n", highlight=False, soft_wrap=True)
        self.sums = {}
        self.steps = self.samples = 0
        self.waited = 0.0
        self.last = now
