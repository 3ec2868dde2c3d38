"""Output takes its name only when it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from thinkvla.files import new_file, new_folder


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
