"""Evaluate a checkpoint, or the scripted expert, on a suite of the tabletop world."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from thinkvla.evaluate.parallel import run_parallel
from thinkvla.evaluate.policy import Policy
from thinkvla.evaluate.results import Episode, EvaluationResult
from thinkvla.evaluate.server import PolicyServer
from thinkvla.evaluate.videos import choose, replay
from thinkvla.progress import progress
from thinkvla.tabletop.seeds import seeds
from thinkvla.tabletop.tasks import Task
from thinkvla.tabletop.world import World

EXPERT = "expert"
PACKAGES = ("thinkvla", "torch", "transformers", "mujoco", "vla-eval", "numpy")
BENCHMARK = "thinkvla.evaluate.tabletop_benchmark:TabletopBenchmark"
