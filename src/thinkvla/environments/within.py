"""Runs a module of thinkvla by another interpreter, which has no thinkvla: ``PYTHON within.py MODULE ARGUMENTS…``.

The package this file lies in becomes importable, and nothing that lies beside the package. Needs nothing but Python.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    package = Path(__file__).resolve().parents[1]
    sys.path.pop(0)  # the folder of this file, whose modules are no top-level ones
    spec = importlib.util.spec_from_file_location(
        "thinkvla", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["thinkvla"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["thinkvla"])
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
