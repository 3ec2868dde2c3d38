"""Where ManiSkill3 finds its files, from a folder or an archive; no simulator needed but for the table's box."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest

from thinkvla.simulators.simpler.assets import (
    ROBOT_FILES,
    STAGES,
    TASK_FILES,
    URDF,
    collision_exceptions,
    prepare_assets,
    robot_description,
)

DESCRIPTION = b"""<robot name="wx250s">
  <link name="gripper_prop_link"><visual/><collision/></link>
  <link name="base_link"><collision/></link>
  <joint name="right_finger" type="prismatic"><mimic joint="left_finger"/><axis xyz="0 1 0"/></joint>
</robot>"""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """ManiSkill2_real2sim's files, as far as they are looked for, with the table."""
    folder = tmp_path / "real2sim"
    robot = folder / "mani_skill2_real2sim/assets/descriptions/widowx_description"
    for part in ("data/custom/models", "data/real_inpainting", "data/hab2_bench_assets/stages"):
        (folder / part).mkdir(parents=True)
    (robot / "meshes").mkdir(parents=True)
    (robot / URDF).write_bytes(DESCRIPTION)
    (robot / "meshes/base.stl").write_text("mesh")
    (folder / "data/custom/models.json").write_text("{}")
    for stage in STAGES:
        (folder / "data/hab2_bench_assets/stages" / stage).write_text("table")
    return folder


def test_folder_is_linked_to(published: Path, tmp_path: Path) -> None:
    assets = prepare_assets(published, tmp_path / "home")
    assert assets.table == "mesh"
    assert (assets.root / TASK_FILES / "custom/models.json").read_text() == "{}"
    assert (assets.root / ROBOT_FILES / "meshes/base.stl").read_text() == "mesh"
    assert (assets.root / TASK_FILES / "stages" / STAGES[0]).read_text() == "table"
    assert prepare_assets(published, tmp_path / "home") == assets


@pytest.mark.parametrize(("form", "suffix"), [("gztar", "tar.gz"), ("zip", "zip")])
@pytest.mark.parametrize("nested", [False, True])
def test_archive_is_unpacked(published: Path, tmp_path: Path, form: str, suffix: str, nested: bool) -> None:
    base = {"base_dir": published.name, "root_dir": published.parent} if nested else {"root_dir": published}
    shutil.make_archive(str(tmp_path / "assets"), form, **base)
    shutil.rmtree(published)
    assets = prepare_assets(tmp_path / f"assets.{suffix}", tmp_path / "home")
    assert (assets.root / TASK_FILES / "custom/models.json").read_text() == "{}"
    assert (assets.root / ROBOT_FILES / "meshes/base.stl").read_text() == "mesh"


def test_download_of_maniskill3_is_used_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "maniskill"
    (source / TASK_FILES / "stages").mkdir(parents=True)
    (source / ROBOT_FILES).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"wx250s.urdf.*are missing"):
        prepare_assets(source)
    (source / ROBOT_FILES / URDF).write_bytes(DESCRIPTION)
    for stage in STAGES:
        (source / TASK_FILES / "stages" / stage).touch()
    assets = prepare_assets(source, tmp_path / "home")
    assert (assets.root, assets.table) == (source, "mesh")
    assert not (tmp_path / "home").exists()


def test_missing_table_is_a_box(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = []

    class Box:
        def __init__(self, bounds: list[tuple[float, float, float]]) -> None:
            boxes.append(bounds)

        def export(self, path: Path) -> None:
            path.touch()

    trimesh = types.ModuleType("trimesh")
    trimesh.creation = types.SimpleNamespace(box=Box)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trimesh", trimesh)
    shutil.rmtree(published / "data/hab2_bench_assets")
    assert prepare_assets(published, tmp_path / "home").table == "box"
    assert len(boxes) == 2
    low, high = boxes[0]
    assert high[1] == 0.86974  # the mesh's y is up
    assert all(a < b for a, b in zip(low, high, strict=True))
    assert prepare_assets(published, tmp_path / "home").table == "box"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere do not exist.*--assets"):
        prepare_assets(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no archive")
    with pytest.raises(ValueError, match="neither a folder nor an archive"):
        prepare_assets(tmp_path / "notes.txt", tmp_path / "home")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data/custom.*are missing; expected ManiSkill3's download"):
        prepare_assets(tmp_path / "empty", tmp_path / "home")
    assert not any((tmp_path / "home").iterdir())


def test_robot_is_described_as_maniskill3_needs_it() -> None:
    robot = ElementTree.fromstring(robot_description(DESCRIPTION))
    assert not list(robot.iter("mimic"))
    collisions = {link.get("name"): len(link.findall("collision")) for link in robot.iter("link")}
    assert collisions == {"gripper_prop_link": 0, "base_link": 1}


def test_overlapping_links_do_not_collide() -> None:
    pairs = {
        frozenset((pair.get("link1"), pair.get("link2")))
        for pair in ElementTree.fromstring(collision_exceptions())
        if pair.get("reason") == "default"
    }
    assert frozenset(("gripper_bar_link", "left_finger_link")) in pairs
    assert frozenset(("left_finger_link", "right_finger_link")) in pairs
