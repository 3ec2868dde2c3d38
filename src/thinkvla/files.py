"""Files and folders that have their name only while they are complete, so that a broken run never looks like data.

A process may be killed at any moment: what it was writing or removing then bears another name, ``NAME.<8 hex
digits>.partial``, which :func:`clean_up` removes.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes ``path`` when the context ends well, and is removed otherwise.

    A process that dies takes nothing of what it wrote with it, but a machine that loses its power may: with ``durable``
    all that is in the folder is on the disk before it takes its name, and the name is when the context ends.

    Raises:
        ValueError: ``path`` exists.
    """
    if path.exists():
        raise ValueError(f"{path} exists already; choose another output folder or remove it")
    partial = _partial(path)
    partial.mkdir(parents=True)
    try:
        yield partial
        if durable:
            for item in (*partial.rglob("*"), partial):
                _flush(item)
        partial.rename(path)
        if durable:
            _flush(path.parent)
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


def remove_folder(path: Path) -> None:
    """Remove a folder, which loses its name first: one that is half removed is not taken for a whole one."""
    partial = _partial(path)
    path.rename(partial)
    shutil.rmtree(partial)


def clean_up(folder: Path, name: str = "*") -> None:
    """Remove what killed processes have left of ``name`` in a folder; none that lives may be writing it now."""
    for left in folder.glob(f"{name}.{'[0-9a-f]' * 8}.partial"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _flush(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, from its memory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
