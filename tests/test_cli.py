"""The command line: one clear line for a user's mistake, with the nearest name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from thinkvla.cli import main, run


class Shell:
    """Runs ``thinkvla`` in this process, in a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)

    def fails(self, *arguments: str) -> str:
        """What a command prints that ends with exit code 2."""
        self.monkeypatch.setattr(sys, "argv", ["thinkvla", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        printed = self.capsys.readouterr()
        return printed.out + printed.err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def test_usage_and_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, expected in (([], "usage: thinkvla COMMAND"), (["--version"], "thinkvla 0.1")):
        monkeypatch.setattr(sys, "argv", ["thinkvla", *arguments])
        main()
        assert expected in capsys.readouterr().out
    assert run(["train"]) == 0
    assert "tabletop_r7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "no command 'fly'"),
        (["train", "tabeltop"], "no recipe 'tabeltop'; did you mean 'tabletop'?"),
        (["train", "tabletop"], "data/tabletop/episodes"),
        (["train", "tabletop", "--resume"], "holds no run to resume"),
        (["eval", "nowhere", "--output", "out"], "'nowhere' is no folder"),
        (["eval", "expert", "--output", "."], "exists"),
        (["eval", "expert", "--output", "out", "--suite", "objekt"], "object"),
        (["eval", "nowhere", "--qa", "--output", "out"], "'nowhere' is no folder"),
        (["eval", "nowhere", "--qa", "--output", "out", "--episodes", "5"], "--episodes is for evaluation in closed"),
        (["eval", "expert", "--qa", "--output", "out"], "the scripted expert answers no questions"),
        (["eval", "nowhere", "--qa", "--output", "."], "exists"),
        (["data", "generate", "--output", "."], "exists"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(shell: Shell, arguments: list[str], message: str) -> None:
    printed = shell.fails(*arguments)
    assert printed.startswith("error ")
    assert message in printed
    assert printed.count("\n") == 1
    assert list(shell.folder.iterdir()) == [], "nothing is left behind"


def test_unknown_option_names_the_nearest(shell: Shell) -> None:
    assert "--method.anchor-tokens" in shell.fails("train", "tabletop", "--method.anchor-token", "8")


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("thinkvla")
    assert "thinkvla 0.1" in subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout


def test_validate_says_whether_data_are_good(shell: Shell, small_data: Path) -> None:
    assert run(["data", "validate", str(small_data / "episodes")]) == 0
    assert run(["data", "validate", str(small_data / "spatial_qa")]) == 0
    assert "no data set there" in shell.fails("data", "validate", str(shell.folder))


def test_a_fault_of_a_library_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors raised deep in a library are not taken for a user's mistake."""
    monkeypatch.setattr(sys, "argv", ["thinkvla", "train"])
    monkeypatch.setattr("thinkvla.cli.run", lambda arguments: int("no number"))
    with pytest.raises(ValueError, match="invalid literal"):
        main()
