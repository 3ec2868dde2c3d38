"""Who may know whom: the walls between the rooms of ``docs/architecture.md``, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "thinkvla"
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").is_file()}

# Room or module at the top → what it may import of thinkvla, besides itself.
MAY_KNOW = {
    "contract": set(),
    "versions": set(),
    "progress": set(),
    "files": set(),
    "method": set(),
    "shipped": set(),
    "ablations": {"method"},
    "backbones": {"method", "shipped"},
    "question_packing": {"method"},
    "crops": {"contract"},
    "patches": set(),
    "points": set(),
    "preprocessor": {"contract", "crops", "method", "patches", "points", "question_packing"},
    "acting": {"backbones", "contract", "method", "patches", "preprocessor"},
    "checkpoint": {"backbones", "files", "method", "preprocessor", "shipped"},
    "pretrained": {"acting", "deploy", "method", "preprocessor", "shipped"},
    "bench": {"acting", "checkpoint", "contract", "deploy", "files", "progress", "serve", "versions"},
    "model_card": set(),
    "export": {"checkpoint", "data", "evaluate", "files", "model_card", "shipped"},
    "deploy": {"acting", "checkpoint", "contract", "method", "preprocessor"},
    "perturbation": set(),
    "tabletop": {"contract", "perturbation"},
    "teachers": {"contract", "files", "points", "progress"},
    "data": {"contract", "files", "progress", "tabletop", "versions"},
    "train": {
        "backbones",
        "checkpoint",
        "contract",
        "crops",
        "data",
        "files",
        "method",
        "preprocessor",
        "teachers",
        "versions",
    },
    "answering": {"backbones", "checkpoint", "contract", "deploy", "method", "preprocessor", "shipped"},
    "pretrain": {
        "backbones",
        "contract",
        "data",
        "files",
        "method",
        "preprocessor",
        "progress",
        "tabletop",
        "teachers",
        "train",
        "versions",
    },
    "environments": {"files", "progress"},
    "evaluate": {
        "answering",
        "checkpoint",
        "contract",
        "data",
        "deploy",
        "environments",
        "files",
        "perturbation",
        "progress",
        "tabletop",
        "versions",
    },
    "diagnose": {
        "ablations",
        "backbones",
        "checkpoint",
        "contract",
        "deploy",
        "evaluate",
        "files",
        "method",
        "preprocessor",
        "progress",
        "tabletop",
        "teachers",
        "versions",
    },
    "results": {"ablations", "checkpoint", "evaluate", "files", "method", "shipped"},
    "serve": {"contract", "deploy", "versions"},
    "robot": {
        "contract",
        "data",
        "deploy",
        "evaluate",
        "files",
        "progress",
        "serve",
        "tabletop",
        "versions",
    },
    "simulators": {
        "contract",
        "data",
        "environments",
        "evaluate",
        "files",
        "perturbation",
        "progress",
        "tabletop",
        "versions",
    },
    "doctor": {"environments", "tabletop", "versions"},
}
EVERYBODY = {"recipes", "cli", "demo", "__main__"}  # know everyone, and nobody knows them


def imports(path: Path) -> set[str]:
    """Rooms of thinkvla that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "thinkvla" and len(parts) > 1 and parts[1] != "__version__":
                found.add(parts[1])
    return found


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_walls_hold(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        assert imports(path) <= {"pretrained"}  # when it is asked for
    elif here not in EVERYBODY:
        assert imports(path) - {here} <= MAY_KNOW[here]


def test_every_room_is_listed() -> None:
    assert {room(path) for path in files()} - {"__init__"} == set(MAY_KNOW) | EVERYBODY
    assert set(MAY_KNOW) | EVERYBODY >= ROOMS


def test_method_needs_torch_alone() -> None:
    allowed = {"torch", "thinkvla"} | set(sys.stdlib_module_names)
    for path in (PACKAGE / "method").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module]
            assert {name.split(".")[0] for name in names} <= allowed, path.name


def test_files_stay_small() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    assert max(lengths.values()) <= 500
    assert sorted(lengths.values())[len(lengths) // 2] <= 150
    assert sum(n for path, n in lengths.items() if room(path) == "method") < 1000


def test_acting_imports_nothing_of_training() -> None:
    """Deployment, tried in a fresh process: neither teachers nor training, and none of their dependencies."""
    code = (
        "import sys, thinkvla.deploy\n"
        "unwanted = ['thinkvla.teachers', 'thinkvla.train', 'thinkvla.data', 'thinkvla.tabletop',\n"
        "            'pyarrow', 'av', 'mujoco', 'vla_eval', 'tensorboard']\n"
        "print([name for name in unwanted if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]", output.stdout
