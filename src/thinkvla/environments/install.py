"""Making an environment from its lock file. Repeatable: what is complete is left alone, what was broken off goes on."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from thinkvla.environments.linked import FILE, link
from thinkvla.environments.process import problem, python, within
from thinkvla.environments.table import MARKER, Environment, find_environment
from thinkvla.files import check_space, remove_folder
from thinkvla.progress import progress

FORMAT = "thinkvla-environment/1"
LOG = "install.log"


def install(
    name: str, interpreter: Path | None = None, repository: Path | None = None, assets: Path | None = None
) -> Path:
    """Make the environment ``name``, if it is not there yet, and return its folder.

    Args:
        name: one of the environments' names.
        interpreter: the Python that it is made of; default: the one that runs this.
        repository: the user's copy of the benchmark, for an environment that needs one.
        assets: folder of the benchmark's files that are not part of its repository.

    Raises:
        ValueError: there is no such environment, its pins have no wheels for this Python, there is no room for it, the
            folder is something else, another process is installing it, or the repository that it needs is missing or
            something else.
        RuntimeError: the installation failed; the message names its log.
    """
    environment = find_environment(name)
    base = Path(sys.executable) if interpreter is None else interpreter
    console = Console(stderr=True, highlight=False)
    folder = environment.folder
    if (repository is not None or assets is not None) and not environment.repository:
        raise ValueError(f"environment '{name}' needs no repository; leave --repository and --assets away")
    if environment.repository and repository is None and not (folder / FILE).is_file():
        raise ValueError(
            f"environment '{name}' is made of your own copy of the benchmark, which has no licence to be handed on; "
            f"run 'thinkvla env install {name} --repository FOLDER'"
        )
    if assets is not None and repository is None:
        raise ValueError("--assets goes with --repository; give both")
    with _alone(folder):
        if repository is not None and (folder / MARKER).is_file():
            link(folder, repository, environment.repository, assets, *environment.assets)
        if (wrong := problem(environment)) is None:
            console.print(f"environment '{name}' is complete: {folder}", soft_wrap=True)
            return folder
        _check(environment, base)
        marker = folder / MARKER
        if marker.is_file():  # complete, of another lock: packages that this one has no more must not stay
            remove_folder(folder)
        check_space(folder, int(environment.disk * 1e9))
        console.print(
            f"environment '{name}' {wrong}: {environment.what}; {len(environment.packages)} packages, about "
            f"{environment.download:g} GB to download, {environment.disk:g} GB in {folder}; on a common line a few "
            "minutes",
            soft_wrap=True,
        )
        log = folder.with_name(f"{name}-{LOG}")
        with log.open("w", encoding="utf-8") as output:
            _run([str(base), "-m", "venv", str(folder)], environment, output.name)
            if environment.first:
                _run([str(python(environment)), "-m", "pip", "install", *environment.first], environment, output.name)
            _install(environment, output.name)
            _run([str(python(environment)), "-m", "pip", "check"], environment, output.name)
            if environment.finish is not None:
                _run(within(environment, environment.finish), environment, output.name)
        if repository is not None:
            link(folder, repository, environment.repository, assets, *environment.assets)
        partial = marker.with_suffix(".partial")
        values = {"format": FORMAT, "name": name, "lock": environment.digest, "python": _version(base)}
        partial.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
        partial.rename(marker)
    console.print(f"environment '{name}' is complete: {folder}", soft_wrap=True)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two installations at once would spoil each other."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is installing {folder}; wait for it") from None
        yield


def _check(environment: Environment, base: Path) -> None:
    folder = environment.folder
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise ValueError(f"{folder} exists and is no virtual environment; remove it or choose another folder")
    if (version := _version(base)) not in environment.pythons:
        raise ValueError(
            f"environment '{environment.name}' needs Python {' or '.join(environment.pythons)}, not {version} "
            f"({base}); name one: thinkvla env install {environment.name} --python PATH"
        )


def _version(base: Path) -> str:
    """``major.minor`` of an interpreter."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.run([str(base), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{base} is no Python interpreter: {error}") from None


def _install(environment: Environment, log: str) -> None:
    """Run pip with the lock, with a bar that counts packages."""
    command = [str(python(environment)), "-m", "pip", "install", "--no-deps", "--progress-bar", "off", "--requirement"]
    with progress("packages") as display, Path(log).open("a", encoding="utf-8") as output:
        bar = display.add_task("collecting", total=len(environment.packages))
        with subprocess.Popen(
            [*command, str(environment.lock)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                output.write(line)
                if line.startswith(("Collecting ", "Processing ", "Requirement already satisfied: ")):
                    display.update(bar, advance=1)
                elif line.startswith("Installing collected packages"):
                    display.update(bar, description=f"unpacking {environment.disk:g} GB")
    if process.returncode:
        raise _failed(environment, log)


def _run(command: list[str], environment: Environment, log: str) -> None:
    with Path(log).open("a", encoding="utf-8") as output:
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode:
            raise _failed(environment, log)


def _failed(environment: Environment, log: str) -> RuntimeError:
    lines = Path(log).read_text("utf-8").strip().splitlines() or ["nothing"]
    return RuntimeError(
        f"environment '{environment.name}' could not be installed: {lines[-1]} (see {log}); run the command again to "
        "go on where it stopped"
    )
