"""Whether the packages of the interpreter that runs this are those of an environment's lock file."""

from __future__ import annotations

from importlib import metadata

from thinkvla.environments.table import find_environment


def differences(name: str) -> list[str]:
    """Each package that is missing or of another version than the lock of environment ``name`` has, in words."""
    found = []
    for pin in find_environment(name).packages:
        package, _, wanted = pin.partition("==")
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            found.append(f"{package} is missing; the lock has {wanted}")
            continue
        if version.partition("+")[0] != wanted:  # after the plus stands a build of it, e.g. torch's for the CPU
            found.append(f"{package} is {version}; the lock has {wanted}")
    return found
