"""Seven ways in which a LIBERO episode can differ from those that a policy has seen, each in three growing strengths.

Written afresh from the published description of LIBERO-Plus (arXiv 2510.13626), whose axes they are; what they do here,
and how much, is our own, and results along them are not LIBERO-Plus's. The task's goal and how success is judged never
change. Draws are a function of task, seed, episode and axis. The level scales them, so that most levels are the one
before taken further.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Image
from thinkvla.perturbation import Perturbation
from thinkvla.simulators.libero.perturbations_language import told
from thinkvla.simulators.libero.perturbations_layout import Scene, added_things, rearrange, widen_state
from thinkvla.simulators.libero.perturbations_noise import NoisySensor
from thinkvla.simulators.libero.perturbations_robot import start_elsewhere
from thinkvla.simulators.libero.perturbations_view import change_lights, change_surfaces, move_camera
from thinkvla.simulators.libero.problem import Problem, read_problem
from thinkvla.simulators.libero.sensing import GRIP_SITE
from thinkvla.simulators.libero.world import CAMERAS, World

EDITED = {
    "camera": ("cam_pos", "cam_quat", "cam_fovy"),
    "light": ("light_pos", "light_dir", "light_ambient", "light_diffuse", "light_specular", "light_castshadow"),
    "background": ("tex_data", "mat_rgba", "geom_rgba"),
}
"""Axis → what it changes of the simulator's model."""
LAMP = ("ambient", "diffuse", "specular")
ARM = tuple(f"robot0_joint{number}" for number in range(1, 8))


class PerturbedWorld(World):
    """A simulator of one task along one axis.

    Args:
        perturbation: axis and level.
        suite: name of a suite.
        number: the task's place in the suite, from 0.
        seed: from which draws follow.
        rendering: whether views can be rendered.

    Raises ValueError for an unknown suite or task.
    """

    def __init__(
        self, perturbation: Perturbation, suite: str, number: int, seed: int = 7, rendering: bool = True
    ) -> None:
        self.perturbation, self._draw_seed = perturbation, seed
        self._problem: Problem | None = None
        self._added: tuple[str, ...] = ()
        self._noisy: NoisySensor | None = None
        self._frame = 0
        self._plain: tuple[Any, dict[str, Any], dict[str, Any]] | None = None
        with tempfile.TemporaryDirectory() as scratch:
            self._scratch = Path(scratch)
            super().__init__(suite, number, rendering)
        self._plain_instruction = self.instruction

    def begin(self, seed: int, layout: int) -> None:
        """Begin from one of the benchmark's own layouts, perturbed.

        Raises:
            ValueError: the scene leaves no room for the perturbation; see perturbations_layout and perturbations_robot.
        """
        self.reset(seed)
        self._frame, self._noisy = 0, None
        self.instruction = told(self.perturbation, self.name, self._plain_instruction, self._draw_seed, layout)
        environment, simulation = self._env, self._env.sim
        model, data = simulation.model._model, simulation.data._data
        axis, level, rng = self.perturbation.axis, self.perturbation.level, self._draws(layout)
        self._undo_edits(model)
        state = self.init_states()[layout]
        if self._added:
            state = widen_state(model, state, environment.get_sim_state(), self._added)
        self.restore(state)
        if axis == "camera":
            move_camera(model, model.camera(CAMERAS["front"]).id, environment.env.workspace_offset[2], rng, level)
        elif axis == "light":
            change_lights(model, rng, level)
        elif axis == "background":
            swatches = sorted((Path(environment.env.custom_asset_dir) / "textures").glob("*.png"))
            changed = change_surfaces(model, _background(model), swatches, rng, level)
            if simulation._render_context_offscreen is not None:
                _upload(simulation._render_context_offscreen, model, changed)
        elif axis == "noise":
            self._noisy = NoisySensor.draw(rng, level)
        elif axis == "layout":
            assert self._problem is not None
            origin = np.asarray(environment.env.workspace_offset, np.float64)
            scene = Scene(model, data, self._problem, self.instruction, self._added, origin)
            data.qpos[:] = rearrange(scene, rng, level)
        elif axis == "robot":
            joints = [model.joint(name).id for name in ARM]
            hand = model.site(GRIP_SITE).id
            data.qpos[model.jnt_qposadr[joints]] = start_elsewhere(model, data, joints, hand, rng, level)
        simulation.forward()
        if axis == "robot":  # or the controller would turn the hand back to where it was
            controller = environment.robots[0].controller
            controller.update(force=True)
            controller.reset_goal()

    def _undo_edits(self, model: Any) -> None:
        """Have the model as it was before the last episode's edits, which would add up."""
        headlight = model.vis.headlight
        if self._plain is None or self._plain[0] is not model:
            values = {name: np.array(getattr(model, name)) for name in EDITED.get(self.perturbation.axis, ())}
            self._plain = model, values, {name: np.array(getattr(headlight, name)) for name in LAMP}
            return
        _, values, lamp = self._plain
        for name, value in values.items():
            getattr(model, name)[:] = value
        for name, value in lamp.items():
            setattr(headlight, name, value)

    def _step(self, command: NDArray[np.float64], views: Sequence[str]) -> None:
        self._frame += 1
        super()._step(command, views)

    def _problem_file(self) -> Path:
        plain = super()._problem_file()
        if self.perturbation.axis != "layout":
            return plain
        self._problem = read_problem(plain)
        things = added_things(self._problem, self.instruction, self._draws(), self.perturbation.level)
        text, self._added = self._problem.add(things)
        file = self._scratch / plain.name
        file.write_text(text, "utf-8")
        return file

    def _picture(self, view: str) -> Image:
        picture = super()._picture(view)
        return picture if self._noisy is None else self._noisy.expose(picture, self._frame, list(CAMERAS).index(view))

    def _draws(self, *layout: int) -> np.random.Generator:
        return self.perturbation.draws(self.name, self._draw_seed, *layout)


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
