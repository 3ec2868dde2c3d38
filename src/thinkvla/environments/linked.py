"""What an environment takes from the user's own disk, because nobody may hand it on: a repository, and its assets.

They stay where they are. The environment's interpreter finds the repository's packages through a ``.pth`` file, and the
repository finds its assets through a symbolic link, unless they are in it already.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FILE = "linked.json"
PTH = "thinkvla-linked.pth"


def link(folder: Path, repository: Path, needed: Sequence[str], assets: Path | None, place: str, instead: str) -> None:
    """Have an environment use a repository, and assets if there are any, in place of those linked before.

    Args:
        folder: of the environment.
        repository: the user's copy.
        needed: paths that it must have.
        assets: folder of files that are not part of the repository; none: those that are in it, or else ``instead``.
        place: where in the repository its code looks for assets; a symbolic link is made there.
        instead: folder among the environment's packages that has some of the assets.

    Raises:
        ValueError: a folder is missing, or is something else.
    """
    repository = repository.expanduser().resolve()
    missing = [path for path in needed if not (repository / path).exists()]
    if missing:
        raise ValueError(f"{repository} lacks {', '.join(missing)}; give the folder of the benchmark's repository")
    if assets is not None and not assets.expanduser().is_dir():
        raise ValueError(f"{assets} is no folder; give the one that the archive of assets was unpacked to")
    (packages,) = folder.glob("lib/python*/site-packages")
    there = repository / place
    if there.is_dir() and not there.is_symlink():
        if assets is not None and assets.expanduser().resolve() != there:
            raise ValueError(f"the repository has assets of its own, {there}; remove them, or leave --assets away")
    else:
        there.unlink(missing_ok=True)
        there.symlink_to(packages / instead if assets is None else assets.expanduser().resolve())
    values = {"repository": str(repository), "assets": str(there.resolve())}
    (packages / PTH).write_text(f"{repository}\n", "utf-8")
    (folder / FILE).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def linked(folder: Path | None = None) -> Mapping[str, str]:
    """``repository`` and ``assets`` of an environment; default: the one whose interpreter runs this.

    Raises:
        ValueError: nothing is linked, or what was is gone.
    """
    folder = Path(sys.prefix) if folder is None else folder
    file = folder / FILE
    if not file.is_file():
        raise ValueError(f"nothing is linked to the environment {folder}; install it with --repository FOLDER")
    values: dict[str, str] = json.loads(file.read_text("utf-8"))
    gone = [path for path in values.values() if not Path(path).is_dir()]
    if gone:
        raise ValueError(f"{', '.join(gone)} is gone, which was linked to the environment {folder}; link it again")
    return values
