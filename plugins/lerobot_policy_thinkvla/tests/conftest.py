"""Settings of the plugin's tests."""

from __future__ import annotations

import os
from importlib.metadata import version

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if version("lerobot").startswith("0.4."):  # its GR00T cannot be imported beside transformers 5: docs/lerobot.md
    import lerobot.utils.import_utils

    lerobot.utils.import_utils._transformers_available = False
