"""For processes in an environment: not to outlive the process that started them."""

from __future__ import annotations

import os
import sys
import threading

GONE = 70
"""Exit code when the process that started this one is gone."""


def end_with_parent() -> None:
    """From now on, end this process when its standard input, which the process that started it holds, is closed."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(GONE)
