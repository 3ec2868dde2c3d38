"""The sessions of docs/serving.md: openpi's client unchanged in an environment of its own, ours, and vla-eval."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import EMBODIMENT, build

from thinkvla.checkpoint import save_checkpoint
from thinkvla.preprocessor import Preprocessor

ROOT = Path(__file__).parents[2]
OPENPI = ROOT / "build" / "openpi" / "bin" / "python"
TEXT = (ROOT / "docs" / "serving.md").read_text("utf-8")
PORT = "8000"


def block(language: str, word: str) -> str:
    """The one code block of the page that contains a word."""
    [found] = [b for b in re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL) if word in b]
    return str(found)


def environment() -> dict[str, str]:
    """With the commands beside this Python, and with whatever this process can import."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "UV_PYTHON": sys.executable,
        "UV_OFFLINE": "1",
        "UV_NO_PROJECT": "1",
    }


def outcome(command: list[str], folder: Path, **given: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=220, env=environment() | given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def served(command: str) -> Iterator[str]:
    """The documented server at a free port, which is told; it must end on SIGTERM without a complaint."""
    arguments = [sys.executable, "-m", *command.split(), "--port", "0", "--deadline-s", "60"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line)
            if found := re.search(r"ws://127.0.0.1:(\d+)", line):
                try:
                    yield found[1]
                finally:  # it would be waited for, whatever the test found
                    process.send_signal(signal.SIGTERM)
                    code = process.wait(120)
                assert code == 0
                assert "Traceback" not in process.stderr.read()
                return
        raise AssertionError("".join(log))


@pytest.mark.slow
def test_sessions_with_one_server(tmp_path: Path) -> None:
    with served(block("bash", "thinkvla serve").strip()) as port:
        (tmp_path / "eval.yaml").write_text(block("yaml", "TabletopBenchmark").replace(PORT, port))
        found = outcome(block("bash", "vla-eval run").split(), tmp_path)
        assert "Spec validation passed" in found
        assert "ep0: " in found
        assert "error" not in found.lower()
        found = outcome([sys.executable, "-c", block("python", "PolicyClient").replace(PORT, port)], tmp_path)
        assert "(8, 7) False" in found
        if not OPENPI.exists():
            pytest.skip(f"openpi's client is not installed: make {OPENPI.parents[1].relative_to(ROOT)}")
        script = block("python", "ActionChunkBroker").replace(PORT, port)
        found = outcome([str(OPENPI), "-c", script], tmp_path, PYTHONPATH="")
        assert len(re.findall(r"^\d \[.*\]$", found, re.MULTILINE)) == 10, found


@pytest.mark.slow
def test_the_test_command_of_vla_eval(tmp_path: Path) -> None:
    policy, tabletop = build()
    robot = replace(EMBODIMENT, cameras=("agentview", "wrist"), image_size=(256, 256))
    parts = (tabletop.method, tabletop.normalizer, tabletop.tokenizer, tabletop.image_processor)
    save_checkpoint(
        tmp_path / "policy", policy, Preprocessor(robot, *parts, tabletop.action_text, tabletop.reasoning_text)
    )
    (tmp_path / "server.py").write_text(block("python", "thinkvla.cli"))
    (tmp_path / "server.yaml").write_text(block("yaml", "script: "))
    found = outcome([*block("bash", "vla-eval test").split(), "--timeout", "180"], tmp_path)
    assert "3 steps, success=True" in found, found
