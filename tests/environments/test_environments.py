from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from thinkvla.environments import check, install, process, table
from thinkvla.environments.table import MARKER, Environment, find_environment

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Fake(Environment):
    """An environment with a lock file of the test's own."""

    file: Path = Path()

    @property
    def lock(self) -> Path:
        return self.file


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Registered as ``fake``; its lock is empty."""
    monkeypatch.setenv(table.FOLDER_VARIABLE, str(tmp_path / "environments"))
    lock = tmp_path / "fake.txt"
    lock.write_text("# nothing\n")
    environment = Fake("fake", "a test", (HERE,), 0.0, 0.0, "thinkvla.environments.table", {"FAKE": "1"}, file=lock)
    monkeypatch.setitem(table.ENVIRONMENTS, "fake", environment)
    return environment


def pretend(environment: Environment, lock: str | None) -> None:
    """Make a folder that looks like the environment; without ``lock``, one that was broken off."""
    python = process.python(environment)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (environment.folder / "pyvenv.cfg").write_text("")
    if lock is not None:
        (environment.folder / MARKER).write_text(json.dumps({"lock": lock}))


def test_every_environment_has_a_lock_of_exact_versions_and_a_check() -> None:
    for environment in table.ENVIRONMENTS.values():
        pins = environment.packages
        assert len(pins) > 10
        assert len({pin.split("==")[0].lower() for pin in pins}) == len(pins)
        assert all(pin.count("==") == 1 for pin in pins)
        source = Path(table.__file__).parents[2] / (environment.check.replace(".", "/") + ".py")
        assert source.is_file()


def test_unknown_environment_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="no environment 'libera'; did you mean 'libero'"):
        find_environment("libera")


def test_command_needs_a_complete_environment(fake: Fake) -> None:
    with pytest.raises(ValueError, match="is not installed; run 'thinkvla env install fake'"):
        process.command("fake", "thinkvla.environments.table")
    assert check.check("fake").problems == ("it is not installed; run 'thinkvla env install fake'",)
    assert check.installed() == []
    pretend(fake, None)
    with pytest.raises(ValueError, match="is not complete: its installation was broken off; run"):
        process.command("fake", "thinkvla.environments.table")
    (fake.folder / MARKER).write_text(json.dumps({"lock": "another"}))
    with pytest.raises(ValueError, match="was made from another lock file"):
        process.command("fake", "thinkvla.environments.table")
    (fake.folder / MARKER).write_text(json.dumps({"lock": fake.digest}))
    assert process.command("fake", "thinkvla.x", "1")[0] == str(process.python(fake))
    assert check.installed() == ["fake"]


def test_an_environments_processes_see_this_package_and_nothing_beside_it(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    pretend(fake, fake.digest)
    python, within, *_ = process.command("fake", "thinkvla.environments.table")
    code = "import sys, thinkvla, thinkvla.contract; print(thinkvla.__file__)"
    ran = subprocess.run([python, "-I", "-S", within, "thinkvla.environments.table"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr  # without any site-packages
    assert "Traceback" in subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True).stderr
    assert "PYTHONPATH" not in process.variables("fake")
    assert process.variables("fake")["FAKE"] == "1"
    monkeypatch.setenv("FAKE", "2")
    assert process.variables("fake")["FAKE"] == "2"


def test_check_that_fails_says_why(fake: Fake) -> None:
    pretend(fake, fake.digest)
    assert check.check("fake").problems == ("its check failed: nothing was printed",)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_installation_is_repeatable_repaired_and_renewed(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert install.install("fake") == fake.folder
    assert process.problem(fake) is None
    assert json.loads((fake.folder / MARKER).read_text())["python"] == HERE
    marker = fake.folder / MARKER
    before = marker.stat().st_mtime_ns
    install.install("fake")
    assert marker.stat().st_mtime_ns == before  # left alone
    marker.unlink()  # as if it had been broken off
    (fake.folder / "kept").touch()
    install.install("fake")
    assert process.problem(fake) is None
    assert (fake.folder / "kept").exists()
    fake.file.write_text("--no-index\nnot-there==1.0\n")
    with pytest.raises(RuntimeError, match=r"could not be installed: .*not-there.* \(see .*fake-install.log\)"):
        install.install("fake")
    assert process.problem(fake) == "is not complete: its installation was broken off"
    assert not (fake.folder / "kept").exists()  # made anew for another lock
    said = capsys.readouterr().err
    assert "environment 'fake' is not installed: a test; 0 packages" in said


def test_unfit_places_and_interpreters_are_refused(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.folder.mkdir(parents=True)
    (fake.folder / "thesis.txt").touch()
    with pytest.raises(ValueError, match="exists and is no virtual environment"):
        install.install("fake")
    (fake.folder / "thesis.txt").unlink()
    with pytest.raises(ValueError, match="is no Python interpreter"):
        install.install("fake", tmp_path / "nothing")
    older = Fake("fake", "a test", ("3.1",), 0.0, 0.0, "x", file=fake.file)
    monkeypatch.setitem(table.ENVIRONMENTS, "fake", older)
    with pytest.raises(ValueError, match=rf"needs Python 3.1, not {HERE} .* --python PATH"):
        install.install("fake")
    with install._alone(fake.folder), pytest.raises(ValueError, match="another process is installing"):
        install.install("fake")
