"""A Vulkan driver that SAPIEN 3 renders with on the CPU: the machine's own, or Mesa's unpacked into the environment.

SAPIEN needs lavapipe of Mesa 24.3 or later. Where the machine's own driver does not serve it and apt is at hand,
Debian's packages are unpacked into the environment's folder; nothing of the system changes, and no root is needed.
Debian 12 has a Mesa of that age only in its backports, which are read beside the sources that apt is configured with.

Run by the environment's interpreter when it is installed: ``python -m thinkvla.simulators.simpler.vulkan``.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import thinkvla.environments
from thinkvla.environments.table import VARIABLES

DRIVER = "mesa-vulkan-drivers"
LIBRARIES = ("libgl1", "libglib2.0-0")
"""What OpenCV needs of the system."""
_FOLDER = "vulkan"
_ADVICE = (
    f"install {DRIVER} of Mesa 24.3 or later (Debian 13 and Ubuntu 24.04 have it, Debian 12 in bookworm-backports) and "
    f"{', '.join(LIBRARIES)}, and run the command again"
)


def main() -> None:
    """Find or make a driver for this environment; raises RuntimeError where there is none."""
    home = Path(sys.prefix)
    if renders({}):
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise RuntimeError(f"no Vulkan driver of this machine serves SAPIEN; {_ADVICE}")
    unpacked = home / _FOLDER
    shutil.rmtree(unpacked, ignore_errors=True)
    _unpack(unpacked)
    variables = _variables(unpacked)
    if not renders(variables):
        raise RuntimeError(
            f"neither this machine's Vulkan driver nor the one unpacked from apt serves SAPIEN; {_ADVICE}"
        )
    (home / VARIABLES).write_text(json.dumps(variables, indent=2) + "\n", "utf-8")


def renders(variables: Mapping[str, str]) -> bool:
    """Whether SAPIEN renders a frame with these variables set, tried in a process of its own."""
    within = Path(thinkvla.environments.__file__).with_name("within.py")
    ended = subprocess.run(
        [sys.executable, str(within), "thinkvla.simulators.simpler.check"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ended.stdout.splitlines()
    return ended.returncode == 0 and not json.loads(lines[-1])["problems"]


def _variables(unpacked: Path) -> dict[str, str]:
    """What points Vulkan's loader at the driver in a folder, whose description then names the library by its path."""
    (library,) = unpacked.glob("usr/lib/*/libvulkan_lvp.so")
    (published,) = unpacked.glob("usr/share/vulkan/icd.d/lvp_icd*.json")
    description = json.loads(published.read_text("utf-8"))
    description["ICD"]["library_path"] = str(library)
    file = unpacked / "lavapipe.json"
    file.write_text(json.dumps(description), "utf-8")
    return {
        "VK_DRIVER_FILES": str(file),
        "VK_ICD_FILENAMES": str(file),  # the name of the same before Vulkan 1.3.207
        "LD_LIBRARY_PATH": str(library.parent),
    }


def _unpack(folder: Path) -> None:
    """Download the driver's package and those it needs that this machine lacks, and unpack them into a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        private = Path(scratch)
        for part in ("lists/partial", "cache/archives/partial"):
            (private / part).mkdir(parents=True)
        options = [
            f"Dir::State::lists={private / 'lists'}",
            f"Dir::Cache={private / 'cache'}",
            "Debug::NoLocking=true",
            "APT::Sandbox::User=root",
        ]
        release: list[str] = []
        if (backports := _backports()) is not None:
            line, suite = backports
            sources = private / "sources"
            shutil.copytree("/etc/apt/sources.list.d", sources)
            if Path("/etc/apt/sources.list").is_file():
                shutil.copy("/etc/apt/sources.list", sources / "machine.list")
            (sources / "backports.list").write_text(line + "\n", "utf-8")
            options += ["Dir::Etc::sourcelist=/dev/null", f"Dir::Etc::sourceparts={sources}"]
            release = ["--target-release", suite]
        command = ["apt-get", *(word for option in options for word in ("-o", option))]
        _run([*command, "update"])
        _run([*command, *release, "install", "--yes", "--download-only", "--no-install-recommends", DRIVER, *LIBRARIES])
        for package in sorted((private / "cache/archives").glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(folder)])


def _backports() -> tuple[str, str] | None:
    """On Debian 12: a line for apt that adds its backports, from the server it already uses, and their name."""
    system = platform.freedesktop_os_release()
    if (system.get("ID"), system.get("VERSION_CODENAME")) != ("debian", "bookworm"):
        return None
    places = _run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)"]).split("\n")
    main = {place.split()[0] for place in places if place.endswith(" bookworm")}
    if not main:
        raise RuntimeError(f"apt of this machine has no source of Debian 12 itself; {_ADVICE}")
    return f"deb {min(main)} bookworm-backports main", "bookworm-backports"


def _run(command: list[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if ended.returncode:
        last = (ended.stderr.strip() or "nothing was said").splitlines()[-1]
        raise RuntimeError(f"'{command[0]}' failed: {last}; {_ADVICE}")
    return ended.stdout


if __name__ == "__main__":
    main()
