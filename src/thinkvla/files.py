"""Files and folders that take their name only when they are complete, so that a broken run never looks like data."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes ``path`` when the context ends well, and is removed otherwise.

    Raises:
        ValueError: ``path`` exists.
    """
    if path.exists():
        raise ValueError(f"{path} exists already; choose another output folder or remove it")
    partial = _partial(path)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_file(path: Path, size: int) -> Iterator[Path]:
    """Give a temporary name to write ``size`` bytes to; the file becomes ``path`` when the context ends well.

    Several processes may write the same ``path`` at once: each writes its own file, and the last one's stays.

    Raises:
        ValueError: the disk has less than ``size`` bytes free.
    """
    check_space(path, size)
    partial = _partial(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_space(path: Path, size: int) -> None:
    """Refuse to write ``size`` bytes to ``path`` where there is no room; makes the folder above it.

    Raises:
        ValueError: the disk has less than ``size`` bytes free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise ValueError(
            f"{path} needs {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; make room or choose another folder"
        )


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
