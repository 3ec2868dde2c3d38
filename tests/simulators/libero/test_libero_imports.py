from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import thinkvla.evaluate.simulator
import thinkvla.simulators.libero.benchmark
import thinkvla.simulators.libero.check
import thinkvla.simulators.libero.expert_policy
print([name for name in ("torch", "transformers", "tyro", "libero", "robosuite") if name in sys.modules])
"""


def test_simulator_side_needs_neither_torch_nor_the_simulator_to_be_imported() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
