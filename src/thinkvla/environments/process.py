"""Starting code of thinkvla with an environment's own interpreter."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from thinkvla.environments.linked import FILE
from thinkvla.environments.table import MARKER, VARIABLES, Environment, find_environment

_WITHIN = Path(__file__).with_name("within.py")


def python(environment: Environment) -> Path:
    """The interpreter of an environment's folder, complete or not."""
    return environment.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def problem(environment: Environment) -> str | None:
    """Why an environment cannot be used, in words; None when it is complete and of the lock that is shipped."""
    if not python(environment).exists():
        return "is not installed"
    marker = environment.folder / MARKER
    if not marker.is_file():
        return "is not complete: its installation was broken off"
    if json.loads(marker.read_text("utf-8"))["lock"] != environment.digest:
        return "was made from another lock file than this version of thinkvla has"
    if environment.repository and not (environment.folder / FILE).is_file():
        return "has no repository: it needs --repository FOLDER"
    return None


def command(name: str | None, module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of thinkvla in an environment; None is the interpreter that runs this.

    Only the package thinkvla is visible in an environment besides what the environment holds: nothing else that is
    installed here. It needs no installation there, and it is always this very version.

    Raises ValueError when the environment is missing or not complete.
    """
    if name is None:
        return [sys.executable, "-m", module, *arguments]
    environment = find_environment(name)
    if (wrong := problem(environment)) is not None:
        raise ValueError(
            f"environment '{name}' ({environment.folder}) {wrong}; run 'thinkvla env install {name}' "
            f"({environment.download:g} GB to download, {environment.disk:g} GB on disk)"
        )
    return within(environment, module, *arguments)


def within(environment: Environment, module: str, *arguments: str) -> list[str]:
    """The same for an environment that may still be incomplete."""
    return [str(python(environment)), str(_WITHIN), module, *arguments]


def variables(name: str | None) -> dict[str, str]:
    """Environment variables for such a process: this process's own, without what belongs to its interpreter."""
    if name is None:
        # It can import whatever this process can.
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    own = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment = find_environment(name)
    found = environment.folder / VARIABLES
    of_machine: dict[str, str] = json.loads(found.read_text("utf-8")) if found.is_file() else {}
    return {**environment.variables, **of_machine, **own}
