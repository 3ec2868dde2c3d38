"""Seven ways in which a LIBERO episode can differ from those that a policy has seen, each in three growing strengths.

Written afresh from the published description of LIBERO-Plus (arXiv 2510.13626), whose axes they are; what they do here,
and how much, is our own, and results along them are not LIBERO-Plus's. The task's goal and how success is judged never
change. Draws are a function of task, seed, episode and axis. The level scales them, so that most levels are the one
before taken further.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Image
from thinkvla.perturbation import Perturbation
from thinkvla.simulators.libero.perturbations_language import reword
from thinkvla.simulators.libero.perturbations_layout import Scene, added_things, rearrange, widen_state
from thinkvla.simulators.libero.perturbations_noise import Sensor
from thinkvla.simulators.libero.perturbations_robot import start_elsewhere
from thinkvla.simulators.libero.perturbations_view import change_lights, change_surfaces, move_camera
from thinkvla.simulators.libero.problem import read_problem

CAMERA = "agentview"
HAND = "gripper0_grip_site"
ARM = tuple(f"robot0_joint{number}" for number in range(1, 8))
TEXTURES = "textures"
"""LIBERO's folder of surfaces, among its assets."""

Vector = NDArray[np.float64]


class PerturbedTask:
    """One task of LIBERO along one axis.

    Args:
        perturbation: axis and level.
        task: name of the task, from which draws follow.
        instruction: what the robot is asked to do on the plain scene.
        problem_file: the task's BDDL file.
        assets: LIBERO's assets, for other surfaces.
        seed: from which draws follow.
        scratch: folder for a problem file of our own; it is used along the axis ``layout`` alone.

    Attributes:
        problem_file: the BDDL file to make the environment of.

    Raises ValueError for a problem file that is not one of LIBERO's.
    """

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        task: str,
        instruction: str,
        problem_file: Path,
        assets: Path,
        seed: int,
        scratch: Path,
    ) -> None:
        self.perturbation, self.problem_file = perturbation, problem_file
        self._task, self._instruction, self._seed = task, instruction, seed
        self._surfaces = sorted((assets / TEXTURES).glob("*.png"))
        self._added: tuple[str, ...] = ()
        self._sensor: Sensor | None = None
        self._edited: Any = None
        if perturbation.axis == "layout":
            self._problem = read_problem(problem_file)
            things = added_things(self._problem, instruction, self._draws(), perturbation.level)
            text, self._added = self._problem.add(things)
            self.problem_file = scratch / problem_file.name
            self.problem_file.write_text(text, "utf-8")

    def instruction(self, episode: int) -> str:
        """What the robot is asked to do in an episode."""
        if self.perturbation.axis != "language":
            return self._instruction
        return reword(self._instruction, self._draws(episode), self.perturbation.level)

    def start(self, environment: Any, state: Vector, episode: int) -> None:
        """Put an environment that was just reset, model and all, into an episode's perturbed start.

        Args:
            environment: LIBERO's ``ControlEnv``, made of ``problem_file``.
            state: float64 (1 + nq + nv,) the episode's plain start, as LIBERO stores it.
            episode: its number.

        Raises:
            ValueError: the scene leaves no room for the perturbation; see perturbations_layout and perturbations_robot.
        """
        simulation = environment.sim
        model, data = simulation.model._model, simulation.data._data
        assert model is not self._edited, "models must be made anew for each episode: edits would add up"
        self._edited = model
        axis, level, rng = self.perturbation.axis, self.perturbation.level, self._draws(episode)
        if axis == "layout":
            state = widen_state(model, state, environment.get_sim_state(), self._added)
        environment.set_state(state)
        simulation.forward()
        if axis == "camera":
            move_camera(model, model.camera(CAMERA).id, environment.env.workspace_offset[2], rng, level)
        elif axis == "light":
            change_lights(model, rng, level)
        elif axis == "background":
            changed = change_surfaces(model, _background(model), self._surfaces, rng, level)
            _upload(simulation._render_context_offscreen, model, changed)
        elif axis == "layout":
            origin = np.asarray(environment.env.workspace_offset, np.float64)
            scene = Scene(model, data, self._problem, self._instruction, self._added, origin)
            data.qpos[:] = rearrange(scene, rng, level)
        elif axis == "robot":
            joints = [model.joint(name).id for name in ARM]
            data.qpos[model.jnt_qposadr[joints]] = start_elsewhere(model, data, joints, model.site(HAND).id, rng, level)
        elif axis == "noise":
            self._sensor = Sensor.draw(rng, level)
        simulation.forward()
        if axis == "robot":  # or the controller would turn the hand back to where it was
            controller = environment.robots[0].controller
            controller.update(force=True)
            controller.reset_goal()
        environment.check_success()
        environment._post_process()
        environment._update_observables(force=True)

    def see(self, picture: Image, camera: int, frame: int) -> Image:
        """What a camera's sensor makes of a picture, in the episode that was started last.

        Args:
            picture: uint8 (H, W, 3), as rendered.
            camera: its number.
            frame: control steps since the episode began.
        """
        return picture if self._sensor is None else self._sensor.expose(picture, frame, camera)

    def _draws(self, *episode: int) -> np.random.Generator:
        names = (zlib.crc32(name.encode()) for name in (self.perturbation.axis, self._task))
        return np.random.default_rng([*names, self._seed, *episode])


def _background(model: Any) -> list[int]:
    """Visible geoms of the room: neither robot nor fixture nor thing."""
    roots = (model.body(root).name for root in model.body_rootid[model.geom_bodyid])
    return [
        geom
        for geom, root in enumerate(roots)
        if model.geom_group[geom] == 1 and not root.endswith("_main") and not root.startswith("robot")
    ]


def _upload(context: Any, model: Any, textures: Sequence[int]) -> None:
    """Give a renderer that exists already the textures that changed."""
    context.gl_ctx.make_current()
    for texture in textures:
        mujoco.mjr_uploadTexture(model, context.con, texture)
