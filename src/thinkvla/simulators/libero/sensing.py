"""Reading ground truth from a running LIBERO simulator: poses, goals, contacts and cameras."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.simulators.libero.truth import Goal, Hand, Region, Thing, Truth, Vector
from thinkvla.tabletop.state import CameraState

GRIP_SITE = "gripper0_grip_site"
BASE = "robot0_base"


class Sensor:
    """Reads one model; make another after a hard reset, which makes another model.

    Args:
        domain: LIBERO's problem (``ControlEnv.env``).
    """

    def __init__(self, domain: Any) -> None:
        self._domain = domain
        self._model, self._data = domain.sim.model._model, domain.sim.data._data
        model = self._model
        self._bodies: dict[str, tuple[int, str, bool, bool]] = {}
        for things, movable in ((domain.objects_dict, True), (domain.fixtures_dict, False)):
            for name, thing in things.items():
                if name not in domain.object_states_dict:
                    continue  # the table or floor itself
                root = model.body(thing.root_body).id
                self._bodies[name] = (root, thing.category_name, movable, False)
                for body in self._below(root):
                    if not movable and model.body_jntnum[body]:
                        self._bodies[model.body(body).name] = (body, name, False, True)
        self._solids_of = {name: self._solids(body, part) for name, (body, _, _, part) in self._bodies.items()}
        gripper = domain.robots[0].gripper
        self._fingers = [
            {model.geom(geom).id for geom in gripper.important_geoms[side]} for side in ("left_finger", "right_finger")
        ]
        self._owner: dict[int, str] = {}
        for name, (root, _, movable, _) in self._bodies.items():
            if movable:
                self._owner |= dict.fromkeys([root, *self._below(root)], name)

    @property
    def base(self) -> Vector:
        """(3,) the robot's base, metres, world frame."""
        position: Vector = self._data.body(BASE).xpos.copy()
        return position

    def truth(self) -> Truth:
        """The scene at this moment."""
        domain, data = self._domain, self._data
        things = tuple(
            Thing(
                name,
                category,
                data.xpos[body].copy(),
                data.xmat[body].reshape(3, 3).copy(),
                *_around(self._solids_of[name]),
                movable=movable,
                part=part,
                solids=self._solids_of[name][: 0 if movable else None],
            )
            for name, (body, category, movable, part) in self._bodies.items()
        )
        regions = tuple(
            Region(
                name,
                site.parent_name or "",
                data.site(name).xpos.copy(),
                data.site(name).xmat.reshape(3, 3).copy(),
                np.asarray(site.size, dtype=np.float64),
            )
            for name, site in domain.object_sites_dict.items()
        )
        joints = {
            joint: float(data.joint(joint).qpos[0])
            for fixture in domain.fixtures_dict.values()
            for joint in fixture.joints
        }
        goals = tuple(
            Goal(predicate, tuple(arguments), bool(domain._eval_predicate([predicate, *arguments])))
            for predicate, *arguments in domain.parsed_problem["goal_state"]
        )
        return Truth(self._hand(), things, regions, joints, goals, self.base)

    def camera(self, name: str, size: tuple[int, int]) -> CameraState:
        """Where a camera of the model is, for images of ``size`` (height, width) that are shown upright."""
        camera = self._data.camera(name)
        fovy = float(self._model.camera(name).fovy[0])
        return CameraState(name, camera.xpos.copy(), camera.xmat.reshape(3, 3).copy(), fovy, size)

    def metres(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """A depth buffer (H, W), 0 near to 1 far, as metres along the viewing direction."""
        near, far = (value * self._model.stat.extent for value in (self._model.vis.map.znear, self._model.vis.map.zfar))
        metres: NDArray[np.float32] = (near / (1.0 - depth.astype(np.float64) * (1.0 - near / far))).astype(np.float32)
        return metres

    def _hand(self) -> Hand:
        data, site = self._data, self._data.site(GRIP_SITE)
        fingers = [float(data.joint(f"gripper0_finger_joint{number}").qpos[0]) for number in (1, 2)]
        touched: list[set[str]] = []
        pairs = data.contact.geom
        for pads in self._fingers:
            others = {b if a in pads else a for a, b in pairs if (a in pads) != (b in pads)}
            bodies = {int(self._model.geom_bodyid[geom]) for geom in others}
            touched.append({self._owner[body] for body in bodies if body in self._owner})
        holding = tuple(sorted(touched[0] & touched[1]))
        return Hand(site.xpos.copy(), site.xmat.reshape(3, 3).copy(), fingers[0] - fingers[1], holding)

    def _below(self, root: int) -> list[int]:
        """Bodies that hang on ``root``, itself left out."""
        found = [root]
        for body in range(root + 1, self._model.nbody):
            if self._model.body_parentid[body] in found:
                found.append(body)
        return found[1:]

    def _solids(self, root: int, part: bool) -> Vector:
        """(K, 2, 3) boxes around what collides, in the body's frame; of a fixture without the parts that move."""
        model, data = self._model, self._data
        bodies = [root, *(b for b in self._below(root) if part or not self._moves(b, root))]
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        boxes = []
        for geom in range(model.ngeom):
            if model.geom_bodyid[geom] in bodies and (model.geom_contype[geom] or model.geom_conaffinity[geom]):
                box = model.geom_aabb[geom]
                world = (corners * box[3:] + box[:3]) @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
                local = (world - data.xpos[root]) @ data.xmat[root].reshape(3, 3)
                boxes.append([local.min(axis=0), local.max(axis=0)])
        return np.array(boxes).reshape(-1, 2, 3)

    def _moves(self, body: int, root: int) -> bool:
        """Whether a joint lies between a body and ``root``."""
        while body != root:
            if self._model.body_jntnum[body]:
                return True
            body = int(self._model.body_parentid[body])
        return False


def _around(boxes: Vector) -> tuple[Vector, Vector]:
    """Lower and upper corner of all boxes together; a point at the origin when there are none."""
    if not len(boxes):
        return np.zeros(3), np.zeros(3)
    return boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
