"""Does an environment work? Its versions, its rendering, and one rendered frame, seen by its own interpreter."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.table import Table

from thinkvla.environments.process import command, problem, variables
from thinkvla.environments.table import ENVIRONMENTS, find_environment

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Report:
    """What was found in an environment.

    Attributes:
        name: of the environment.
        found: what → state, to be shown.
        problems: what is wrong; empty when everything works.
    """

    name: str
    found: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def table(self) -> Table:
        """For a terminal."""
        table = Table("what", "state", title=f"environment {self.name}")
        for name, state in self.found.items():
            table.add_row(name, state)
        for wrong in self.problems:
            table.add_row("[bold red]problem[/]", wrong)
        return table


def check(name: str) -> Report:
    """Have an environment check itself; raises ValueError when there is none of that name."""
    environment = find_environment(name)
    if (wrong := problem(environment)) is not None:
        return Report(name, problems=(f"it {wrong}; run 'thinkvla env install {name}'",))
    try:
        ended = subprocess.run(
            command(name, environment.check),
            capture_output=True,
            text=True,
            check=False,
            env=variables(name),
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Report(name, problems=(f"its check did not end within {TIMEOUT_S:.0f} s",))
    lines = ended.stdout.strip().splitlines()
    if ended.returncode or not lines:
        last = (ended.stderr.strip() or "nothing was printed").splitlines()[-1]
        return Report(name, problems=(f"its check failed: {last}",))
    found = json.loads(lines[-1])
    problems = tuple(found.pop("problems"))
    return Report(name, {"folder": str(environment.folder), **found}, problems)


def installed() -> list[str]:
    """Names of the environments that are there, complete or not."""
    return [name for name, environment in ENVIRONMENTS.items() if environment.folder.exists()]
