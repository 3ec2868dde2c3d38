"""Output takes its name only when it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from thinkvla.files import clean_up, new_file, new_folder, remove_folder


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a" / "set") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a/set").exists()
    assert (tmp_path / "a/set/x").read_text() == "1"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["set"]
    with (
        pytest.raises(ValueError, match="set exists already; choose another"),
        new_folder(tmp_path / "a/set"),
    ):
        pass
    with pytest.raises(KeyError), new_folder(tmp_path / "b") as folder:
        raise KeyError(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_is_whole_or_absent_and_the_last_writer_stays(tmp_path: Path) -> None:
    path = tmp_path / "cache.npy"
    with new_file(path, size=3) as first:
        first.write_text("one")
        with new_file(path, size=3) as second:
            second.write_text("two")
        assert path.read_text() == "two"
    assert path.read_text() == "one"
    with pytest.raises(KeyError), new_file(path, size=3) as third:
        raise KeyError(third.write_text("bad"))
    assert path.read_text() == "one"
    assert [file.name for file in tmp_path.iterdir()] == ["cache.npy"]


def test_a_full_disk_is_noticed_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs 1000000000.0 GB and [\d.]+ GB are free"):
        new_file(tmp_path / "x", size=10**18).__enter__()


def test_partial_names_are_cleaned_one_by_one(tmp_path: Path) -> None:
    for name in ("run.0123abcd.partial", "other.0123abcd.partial", "run.partial", "run"):
        (tmp_path / name).mkdir()
    clean_up(tmp_path, "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.0123abcd.partial", "run", "run.partial"]


def test_a_folder_loses_its_name_before_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it removes, a process leaves nothing that looks whole."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "weights").write_text("all of them")

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("thinkvla.files.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_folder(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    clean_up(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_durable_folder_is_written_to_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []

    def record(path: Path) -> None:
        flushed.append((path.name.split(".")[0], (tmp_path / "folder").exists()))

    monkeypatch.setattr("thinkvla.files._flush", record)
    with new_folder(tmp_path / "folder", durable=True) as partial:
        (partial / "inside").mkdir()
        (partial / "inside" / "file").write_text("content")
    assert sorted(flushed[:3]) == [("file", False), ("folder", False), ("inside", False)]
    assert flushed[3:] == [(tmp_path.name.split(".")[0], True)]
