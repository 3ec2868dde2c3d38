"""What a training run leaves behind, and how it is taken up again.

RUN/config.json        resolved configuration      RUN/metrics.jsonl   one line per logged step
RUN/versions.json      software and machine        RUN/tensorboard/    the same curves
RUN/data.json          data sets, their revisions and fingerprints         RUN/command.txt   what was typed
RUN/checkpoints/step-000500/   a policy folder, with training/ beside it for resuming
RUN/policy/            the final policy

A run may be killed at any moment: every folder has its name only while it is complete, and is on the disk by then. Only
the main process writes, unless said otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thinkvla.checkpoint import write_adapters, write_policy
from thinkvla.files import clean_up, new_file, new_folder, remove_folder
from thinkvla.method.policy import ThinkVLA
from thinkvla.preprocessor import Preprocessor
from thinkvla.train.config import TrainConfig, plain
from thinkvla.versions import versions

STATE = "training/state.pt"
COMMAND = "command.txt"
FREE = ("output", "batch_size", "question_batch_size", "accumulation", "processes", "distribution", "data.workers")
"""What a run may be resumed with other values of, as long as a step still holds as many samples."""


class RunFolder:
    """The folder of one run.

    Args:
        config: the run.
        processes: how many train it.

    Attributes:
        path: the folder.
        policy: the final policy's folder, there when the run is through.
    """

    def __init__(self, config: TrainConfig, processes: int = 1) -> None:
        self.path = config.output
        self.policy = config.output / "policy"
        self.config = config
        self.processes = processes

    def check(self, *, resume: bool) -> None:
        """Whether the run can begin here, or go on.

        Raises:
            ValueError: the folder exists and ``resume`` is False, or the other way round, or the configuration is not
                the one the run was started with.
        """
        exists = (self.path / "config.json").is_file()
        if resume and not exists:
            raise ValueError(f"{self.path} holds no run to resume; start it without --resume")
        if resume:
            self._check_same()
        elif self.path.exists():
            raise ValueError(f"{self.path} exists and is not overwritten; choose another output, or --resume the run")

    def create(self, command: str | None) -> None:
        """Make the folder with the resolved configuration, versions, and the command line if there was one."""
        clean_up(self.path.parent, self.path.name)
        with new_folder(self.path, durable=True) as partial:
            _write(partial / "config.json", self._values())
            _write(partial / "versions.json", versions())
            if command is not None:
                (partial / COMMAND).write_text(command + "\n", encoding="utf-8")

    def take_up(self) -> None:
        """Make an existing folder ready to go on: remove what a killed run left half done, and later steps' log."""
        clean_up(self.path)
        clean_up(self.path / "checkpoints")
        if self.policy.exists():  # nothing will be done again
            return
        step = self.steps_done()
        log = self.path / "metrics.jsonl"
        if log.is_file():
            text = "".join(line + "\n" for line in _until(step, log))
            with new_file(log, len(text)) as partial:
                partial.write_text(text, encoding="utf-8")

    def record_data(self, data: list[dict[str, Any]]) -> None:
        """Write data.json, what is trained on; of a resumed run, check that it is the same still.

        Raises:
            ValueError: the content of a data set, its revision or its weight has changed since the run was started.
        """
        path = self.path / "data.json"
        if not path.is_file():
            text = json.dumps(data, indent=2) + "\n"
            with new_file(path, len(text)) as partial:
                partial.write_text(text, encoding="utf-8")
            return
        then, now = (
            {
                f"{entry['kind']} {entry['source']}": {key: value for key, value in entry.items() if key != "path"}
                for entry in entries
            }
            for entries in (json.loads(path.read_text(encoding="utf-8")), data)
        )
        changed = _differences(then, now)
        if changed:
            raise ValueError(
                f"{path}: the data are not what the run was started with: {', '.join(changed)}. Restore them, or start "
                "a new run"
            )

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = [path for path in (self.path / "checkpoints").glob("step-*") if path.suffix != ".partial"]
        return sorted(found, key=_number)

    def steps_done(self) -> int:
        """Optimizer steps of the newest checkpoint, 0 without one."""
        found = self.checkpoints()
        return _number(found[-1]) if found else 0

    def checkpoint(self, step: int) -> Path:
        """The checkpoint after ``step`` optimizer steps."""
        return self.path / "checkpoints" / f"step-{step:06d}"

    def shards(self, step: int) -> Path:
        """Where processes write an optimizer state that is not gathered, each its own part, before the checkpoint."""
        return self.path / "checkpoints" / f"optimizer-{step:06d}"

    def save(
        self,
        step: int,
        policy: ThinkVLA,
        weights: dict[str, Tensor],
        preprocessor: Preprocessor,
        optimizer_state: dict[str, Any],
    ) -> None:
        """A checkpoint after ``step`` optimizer steps; older ones beyond ``config.keep`` are removed."""
        with new_folder(self.checkpoint(step), durable=True) as partial:
            write_policy(partial, policy, preprocessor, weights)
            (partial / "training").mkdir()
            write_adapters(partial / "training", weights)
            torch.save({"step": step, "optimizer": optimizer_state}, partial / STATE)
        for old in self.checkpoints()[: -self.config.keep]:
            remove_folder(old)
            shards = self.shards(_number(old))
            if shards.exists():
                remove_folder(shards)

    def finish(self, policy: ThinkVLA, weights: dict[str, Tensor], preprocessor: Preprocessor) -> None:
        """The final policy."""
        with new_folder(self.policy, durable=True) as partial:
            write_policy(partial, policy, preprocessor, weights)

    def log(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def _values(self) -> dict[str, Any]:
        return plain(self.config) | {"processes": self.processes}

    def _check_same(self) -> None:
        started = {"processes": 1} | json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        now = self._values()
        changed = [found for found in _differences(started, now) if found.split(" ")[0] not in FREE]
        if changed:
            raise ValueError(
                f"{self.path}: the run was started with another configuration; these differ: {', '.join(changed)}. "
                "Resume with the same values, or start a new run"
            )
        for name, samples in (("batch_size", "demonstrations"), ("question_batch_size", "questions")):
            if self.config.method.qa_data == "none" and samples == "questions":
                continue
            then, here = (v[name] * v["accumulation"] * v["processes"] for v in (started, now))
            if then != here:
                raise ValueError(
                    f"{self.path}: a step of this run holds {then} {samples}, now it would hold {here}: {name} "
                    f"{now[name]} x accumulation {now['accumulation']} x {now['processes']} processes. Choose them so "
                    f"that the product is {then}"
                )


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _until(step: int, log: Path) -> Iterator[str]:
    """Lines of a log up to ``step``; the last one may have been cut off, and belongs to a later step then."""
    lines = log.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            if json.loads(line)["step"] <= step:
                yield line
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number < len(lines):
                raise ValueError(
                    f"{log}, line {number}: expected a JSON object with 'step', got {line[:60]!r}; remove the line"
                ) from error


def _differences(a: Any, b: Any, key: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b))
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{key}.{k}" if key else k)]
    return [] if a == b else [f"{key} ({a} then, {b} now)"]
