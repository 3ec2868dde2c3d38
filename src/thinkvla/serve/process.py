"""A process that does nothing but serve: it keeps the memory of its messages, and does not search what stays."""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of malloc.h
_KEPT, _LARGE = 64 * 2**20, 16 * 2**20


def settle_in() -> None:
    """Prepare this process for many messages of some hundred kilobytes each.

    glibc gives the memory of a message back to the system as soon as it is free, and gets it, page by page and zeroed,
    for the next one; that takes longer than reading the message. Here up to 64 MiB are kept instead. What has been
    loaded so far stays until the end, so the garbage collector need not look through it again and again.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):  # not in every C library
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGE)
    gc.collect()
    gc.freeze()
