"""What a benchmark accepts, shows and consists of, asked before its simulators start."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_eval.specs import DimSpec

from thinkvla.environments.process import command, variables
from thinkvla.evaluate import simulator


@dataclass(frozen=True)
class Description:
    """A benchmark, seen from outside.

    Attributes:
        action: component → specification of what it accepts.
        observation: component → specification of what it shows.
        tasks: one dictionary of plain values for each task, with its ``name``, in the benchmark's order.
        metadata: what else it says about itself: ``max_steps``; of ours also ``protocol``, the rules of its episodes,
            and ``versions``, of its simulator.
    """

    action: Mapping[str, DimSpec]
    observation: Mapping[str, DimSpec]
    tasks: tuple[Mapping[str, Any], ...]
    metadata: Mapping[str, Any]

    def get_action_spec(self) -> dict[str, DimSpec]:
        """As vla-eval's benchmarks have it."""
        return dict(self.action)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """As vla-eval's benchmarks have it."""
        return dict(self.observation)


def describe(entry: Mapping[str, Any], environment: str | None = None) -> Description:
    """Describe a vla-eval benchmark entry, in this process or with the interpreter of an environment.

    Raises:
        ValueError: the entry's parameters do not fit the benchmark, or the environment is missing.
        RuntimeError: the benchmark cannot be made there.
    """
    values = simulator.describe(entry) if environment is None else _ask(entry, environment)
    action, observation = (
        {name: DimSpec.from_dict(spec) for name, spec in values[key].items()} for key in ("action", "observation")
    )
    return Description(action, observation, tuple(values["tasks"]), values["metadata"])


def _ask(entry: Mapping[str, Any], environment: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "entry.json"
        file.write_text(json.dumps(dict(entry)), "utf-8")
        ended = subprocess.run(
            command(environment, "thinkvla.evaluate.simulator", "describe", str(file)),
            capture_output=True,
            text=True,
            check=False,
            env=variables(environment),
        )
    if ended.returncode:
        last = (ended.stderr.strip() or "nothing was printed").splitlines()[-1]
        raise RuntimeError(
            f"the benchmark {entry['benchmark']} could not be made in environment '{environment}': {last}; "
            f"'thinkvla env check {environment}' looks for the cause"
        )
    values: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    if "error" in values:
        raise ValueError(values["error"])
    return values
