"""The tasks' meshes and photographs, from where the user has them to where ManiSkill3 looks for them.

Two sources are understood, as a folder or as an archive: ManiSkill3's own download (``data/tasks/…``,
``data/robots/…``), and ManiSkill2_real2sim's repository or a part of it (``data/custom``, ``data/real_inpainting``, the
WidowX description). The second lacks what ManiSkill3 changed in the robot's description, which is made here: links of
the hand whose meshes overlap do not collide, and the second finger is no mimic joint.

Where the source has no mesh of the table a box of the same height stands in; the photograph behind the scene hides
either.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from thinkvla.files import new_folder

TABLE_TOP = 0.86974
"""Height of the table, metres; the box's, where the mesh is missing."""
STAGES = ("bridge_table_1_v1.glb", "bridge_table_1_v2.glb")
TASK_FILES = Path("data/tasks/bridge_v2_real2sim_dataset")
ROBOT_FILES = Path("data/robots/widowx")
URDF = "wx250s.urdf"
TABLES = {
    "mesh": "the published mesh",
    "box": f"a box with its top at {TABLE_TOP} m, hidden by the photograph: the assets lack the published mesh",
}

_MODELS, _PHOTOGRAPHS = Path("data/custom"), Path("data/real_inpainting")
_ROBOT = Path("mani_skill2_real2sim/assets/descriptions/widowx_description")
_STAGES = Path("data/hab2_bench_assets/stages")
_OVERLAPPING = (
    ("base_link", "upper_arm_link"),
    ("gripper_link", "gripper_bar_link"),
    *((link, finger) for link in ("gripper_link", "gripper_bar_link") for finger in ("left", "right")),
    ("left", "right"),
)
_INSIDE = "gripper_prop_link"
"""A link that is inside another's mesh; it has no collision in ManiSkill3."""
# The mesh's own frame: y is up, and the environment moves it here from its origin.
_STAGE_ORIGIN = (2.0634, 2.8313)
_TABLE = ((-1.0, -1.0), (1.0, 1.0))  # corners of the box in the world, metres


@dataclass(frozen=True)
class Assets:
    """Assets as ManiSkill3 finds them.

    Attributes:
        root: folder for ``MS_ASSET_DIR``.
        table: one of :data:`TABLES`.
    """

    root: Path
    table: str


def prepare_assets(source: Path, home: Path | None = None) -> Assets:
    """Lay out the assets of a folder or archive; what was laid out once is found again.

    Args:
        source: folder or archive (tar, zip) in one of the two forms above.
        home: where to put what has to be made; default: ``assets`` in this Python environment.

    Raises ValueError when there is no such folder or archive, or it is not one of these.
    """
    if not source.exists():
        raise ValueError(f"assets {source} do not exist; give a folder or archive of SimplerEnv's assets with --assets")
    if source.is_dir() and (source / TASK_FILES).is_dir():
        _require(source, ROBOT_FILES / URDF, *(TASK_FILES / "stages" / stage for stage in STAGES))
        return Assets(source.resolve(), "mesh")
    # A folder's files are linked to, an archive's unpacked: a folder may change, an archive is another one then.
    key = hashlib.sha256(str(source.resolve()).encode() if source.is_dir() else source.read_bytes()).hexdigest()[:12]
    root = (Path(sys.prefix) / "assets" if home is None else home) / key
    if not root.is_dir():
        try:
            with new_folder(root) as partial:
                _lay_out(source, partial)
        except (OSError, ValueError):
            if not root.is_dir():  # else another process was faster
                raise
    return Assets(root, "box" if (root / TASK_FILES / "stages" / "box").exists() else "mesh")


def _lay_out(source: Path, root: Path) -> None:
    """Fill ``root`` from ManiSkill2_real2sim's files, or from any archive."""
    files = source.resolve()
    if source.is_file():
        files = root / "source"
        try:
            if tarfile.is_tarfile(source):
                with tarfile.open(source) as archive:
                    archive.extractall(files, filter="data")
            else:
                shutil.unpack_archive(source, files)
        except (shutil.ReadError, tarfile.TarError) as error:
            raise ValueError(
                f"assets {source} are neither a folder nor an archive that can be read: {error}"
            ) from error
        inside = list(files.iterdir())
        if len(inside) == 1 and inside[0].is_dir() and inside[0].name != "data":
            files = inside[0]
        if (files / TASK_FILES).is_dir():
            _require(files, ROBOT_FILES / URDF, *(TASK_FILES / "stages" / stage for stage in STAGES))
            shutil.move(files / "data", root / "data")
            return
    _require(files, _MODELS, _PHOTOGRAPHS, _ROBOT / URDF)
    tasks, robot = root / TASK_FILES, root / ROBOT_FILES
    (tasks / "stages").mkdir(parents=True)
    robot.mkdir(parents=True)
    for item, link in ((files / _MODELS, tasks / "custom"), (files / _PHOTOGRAPHS, tasks / "real_inpainting")):
        _link(item, link, root)
    for item in (files / _ROBOT).iterdir():
        if item.name != URDF:
            _link(item, robot / item.name, root)
    (robot / URDF).write_bytes(robot_description((files / _ROBOT / URDF).read_bytes()))
    (robot / URDF).with_suffix(".srdf").write_text(collision_exceptions(), "utf-8")
    for stage in STAGES:
        if (files / _STAGES / stage).is_file():
            _link(files / _STAGES / stage, tasks / "stages" / stage, root)
        else:
            (tasks / "stages" / "box").touch()
            _write_box(tasks / "stages" / stage)


def _link(item: Path, link: Path, root: Path) -> None:
    """Link to a file or folder: by its place where both are in ``root``, which is still to get its name."""
    inside = item.is_relative_to(root)
    link.symlink_to(
        Path(*[".."] * len(link.parent.relative_to(root).parts)) / item.relative_to(root) if inside else item
    )


def _require(folder: Path, *parts: Path) -> None:
    missing = [str(part) for part in parts if not (folder / part).exists()]
    if missing:
        raise ValueError(
            f"assets in {folder}: {missing} are missing; expected ManiSkill3's download (with {TASK_FILES} and "
            f"{ROBOT_FILES}) or files of ManiSkill2_real2sim (with {_MODELS}, {_PHOTOGRAPHS} and {_ROBOT})"
        )


def robot_description(urdf: bytes) -> bytes:
    """ManiSkill2_real2sim's description of the WidowX as ManiSkill3 needs it."""
    robot = ElementTree.fromstring(urdf)
    for joint in robot.iter("joint"):
        for mimic in joint.findall("mimic"):
            joint.remove(mimic)
    for link in robot.iter("link"):
        if link.get("name") == _INSIDE:
            for collision in link.findall("collision"):
                link.remove(collision)
    description: bytes = ElementTree.tostring(robot, encoding="utf-8", xml_declaration=True)
    return description


def collision_exceptions() -> str:
    """Which links overlap by construction, in the SRDF form that SAPIEN reads beside the URDF.

    It heeds the reason ``default`` alone."""
    robot = ElementTree.Element("robot", name="wx250s")
    for pair in _OVERLAPPING:
        first, second = (f"{link}_finger_link" if link in ("left", "right") else link for link in pair)
        ElementTree.SubElement(robot, "disable_collisions", link1=first, link2=second, reason="default")
    return ElementTree.tostring(robot, encoding="unicode")


def _write_box(path: Path) -> None:
    """A box whose top is the table's, in the frame of the table's mesh."""
    import trimesh  # comes with ManiSkill3

    (left, near), (right, far) = _TABLE
    x, y = _STAGE_ORIGIN
    # World (x, y, z) is the mesh's (x, −z, y), moved by the origin.
    low, high = (left - x, 0.0, y - far), (right - x, TABLE_TOP, y - near)
    trimesh.creation.box(bounds=[low, high]).export(path)
