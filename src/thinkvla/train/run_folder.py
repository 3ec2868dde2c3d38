"""What a training run leaves behind, and how it is taken up again.

RUN/config.json        resolved configuration      RUN/metrics.jsonl   one line per logged step
RUN/versions.json      software and machine        RUN/tensorboard/    the same curves
RUN/provenance.json    command and data sets
RUN/checkpoints/step-000500/   a policy folder, with training/ beside it for resuming
RUN/policy/            the final policy
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from thinkvla.checkpoint import load_weights, write_policy
from thinkvla.files import new_folder
from thinkvla.method.policy import ThinkVLA
from thinkvla.preprocessor import Preprocessor
from thinkvla.train.config import TrainConfig, plain
from thinkvla.versions import versions

STATE = "training/state.pt"


class RunFolder:
    """The folder of one run.

    Args:
        config: the run.
        resume: take up an existing run instead of starting one.

    Raises:
        ValueError: the folder exists and ``resume`` is False, or the other way round, or the configuration is not
            the one the run was started with.
    """

    def __init__(self, config: TrainConfig, *, resume: bool) -> None:
        self.path = config.output
        self.config = config
        exists = (self.path / "config.json").is_file()
        if resume and not exists:
            raise ValueError(f"{self.path} holds no run to resume; start it without --resume")
        if resume:
            self._check_same(config)
        elif self.path.exists():
            raise ValueError(f"{self.path} exists and is not overwritten; choose another output, or --resume the run")

    def create(self) -> None:
        """Make the folder with the resolved configuration and versions."""
        self.path.mkdir(parents=True)
        self._write("config.json", plain(self.config))
        self._write("versions.json", versions())

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(path for path in (self.path / "checkpoints").glob("step-*") if path.suffix != ".partial")

    def save(self, step: int, policy: ThinkVLA, preprocessor: Preprocessor, optimizer: torch.optim.Optimizer) -> None:
        """A checkpoint after ``step`` optimizer steps; older ones beyond ``config.keep`` are removed."""
        with new_folder(self.path / "checkpoints" / f"step-{step:06d}") as partial:
            write_policy(partial, policy, preprocessor)
            (partial / "training").mkdir()
            torch.save({"step": step, "optimizer": optimizer.state_dict()}, partial / STATE)
        for old in self.checkpoints()[: -self.config.keep]:
            shutil.rmtree(old)

    def restore(self, policy: ThinkVLA, optimizer: torch.optim.Optimizer) -> int:
        """Load the newest checkpoint into ``policy`` and ``optimizer``; returns the steps done, 0 without one.

        Logged lines of steps that will be done again are dropped.
        """
        found = self.checkpoints()
        step = 0
        if found:
            load_weights(policy, found[-1] / "model.safetensors")
            state = torch.load(found[-1] / STATE, weights_only=True)
            optimizer.load_state_dict(state["optimizer"])
            step = int(state["step"])
        log = self.path / "metrics.jsonl"
        if log.is_file():
            lines = log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            log.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        return step

    def log(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def _check_same(self, config: TrainConfig) -> None:
        started = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        now = plain(config)
        changed = _differences(started, now)
        if changed:
            raise ValueError(
                f"{self.path}: the run was started with another configuration; these differ: {', '.join(changed)}. "
                "Resume with the same values, or start a new run"
            )

    def _write(self, name: str, values: dict[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _differences(a: Any, b: Any, key: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b))
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{key}.{k}" if key else k)]
    return [] if a == b else [f"{key} ({a} then, {b} now)"]
