"""Processes for tests: forked from one that has imported everything, so that each costs no interpreter start."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = ["accelerate", "thinkvla.train.loop", "torch.utils.tensorboard", "tiny_models"]


def forked(function: Callable[..., None], *arguments: Any, output: Path) -> BaseProcess:
    """A started process that calls ``function``; what it prints goes to the file ``output``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_redirected, args=(output, function, arguments), daemon=True)
    process.start()
    return process


def launch(function: Callable[..., None], processes: int, *arguments: Any, folder: Path) -> list[tuple[int, str]]:
    """Call ``function`` in several processes as ``torchrun`` would; exit code and output of each, in order of rank."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outputs = [folder / f"{rank}.txt" for rank in range(processes)]
    started = [
        forked(_ranked, rank, processes, port, function, arguments, output=output)
        for rank, output in enumerate(outputs)
    ]
    while alive := [process for process in started if process.is_alive()]:
        wait([process.sentinel for process in alive])
        if any(process.exitcode for process in started):  # then torchrun ends the others, which may wait for this one
            for process in started:
                process.kill()
    for process in started:
        process.join()
    return [(process.exitcode or 0, output.read_text()) for process, output in zip(started, outputs, strict=True)]


def _redirected(output: Path, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    function(*arguments)


def _ranked(rank: int, processes: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    function(*arguments)
