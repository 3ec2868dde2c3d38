"""The tabletop simulator: reset a task to a seed, step it with actions, look at it.

One seed gives one episode, bit for bit, in every ``World`` of the same MuJoCo version.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thinkvla.contract import Image, Observation, check_actions
from thinkvla.tabletop.control import HandController, palm_down
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.engine import mujoco
from thinkvla.tabletop.imaging import expose
from thinkvla.tabletop.rendering import Renderer
from thinkvla.tabletop.scene import TIMESTEP, SceneSpec, build_model
from thinkvla.tabletop.sensing import cast_names, cast_point_map, read_camera, read_contacts, read_state
from thinkvla.tabletop.state import SceneState
from thinkvla.tabletop.tasks import Contacts, Task, solved

_SUBSTEPS = round(1 / (TABLETOP.control_hz * TIMESTEP))
_RAMP = 5  # physics steps between two servo targets on the way to the control step's target
_SETTLE = 20  # physics steps in which things come to rest before an episode begins
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass(frozen=True)
class _Episode:
    """What a reset builds."""

    seed: int
    scene: SceneSpec
    model: Any
    data: Any
    controller: HandController


@dataclass
class _Motion:
    """An action under way: servo targets (nu,) at its beginning and end, and the physics steps done."""

    begin: NDArray[np.float64]
    end: NDArray[np.float64]
    done: int = 0


class World:
    """One task's simulator; use it as a context manager, or call :meth:`close`.

    Call :meth:`reset` or :meth:`restore` before anything else. Rendering needs OpenGL from the first image on;
    without it :meth:`observe` and :meth:`render` raise RuntimeError naming the packages to install.
    """

    def __init__(self, task: Task, image_size: tuple[int, int] = TABLETOP.image_size) -> None:
        self.task = task
        self.image_size = image_size
        self._episode: _Episode | None = None
        self._renderer: Renderer | None = None
        self._motion: _Motion | None = None

    def reset(self, seed: int) -> None:
        """Begin the episode of a seed."""
        now = self._build(seed)
        self._motion = None
        start = now.scene.robot
        now.controller.start(now.data, np.array(start.position), palm_down(start.yaw))
        mujoco.mj_step(now.model, now.data, nstep=_SETTLE)
        now.data.time = 0.0
        mujoco.mj_forward(now.model, now.data)

    @property
    def scene(self) -> SceneSpec:
        """The scene of this episode, with its goal."""
        return self._now.scene

    def step(self, action: ArrayLike) -> None:
        """Execute one (7,) action for a tenth of a second; raises ContractError for one outside the embodiment."""
        self.begin(action)
        self.advance(1 / TABLETOP.control_hz)

    def begin(self, action: ArrayLike) -> None:
        """Begin to execute one (7,) action while :meth:`advance` lets time pass; an unfinished one is given up.

        Raises ContractError for an action outside the embodiment.
        """
        values = np.asarray(action, dtype=np.float64)
        check_actions(values[None], TABLETOP, "action")
        now = self._now
        self._motion = _Motion(now.data.ctrl.copy(), now.controller.targets(now.data, values))

    def halt(self) -> None:
        """Give up the action under way: the servos keep the targets they have now."""
        self._motion = None

    def advance(self, seconds: float) -> None:
        """Let time pass, rounded to the physics' 4 ms; after an action's tenth of a second its targets are kept."""
        now, left = self._now, round(seconds / TIMESTEP)
        while left > 0:
            count, motion = left, self._motion
            if motion is not None and motion.done < _SUBSTEPS:
                if motion.done % _RAMP == 0:
                    part = (motion.done + _RAMP) / _SUBSTEPS
                    now.data.ctrl[:] = motion.begin + (motion.end - motion.begin) * part
                count = min(left, _RAMP - motion.done % _RAMP)
                motion.done += count
            mujoco.mj_step(now.model, now.data, nstep=count)
            left -= count
        mujoco.mj_forward(now.model, now.data)  # so that poses and contacts belong to the new positions

    @property
    def time(self) -> float:
        """Simulated seconds since the episode began."""
        return float(self._now.data.time)

    def observe(self) -> Observation:
        """Both camera images, as the scene's sensor gives them, and the instruction."""
        scene, frame = self.scene, round(self._now.data.time * TABLETOP.control_hz)
        images = {
            camera: expose(self.render(camera, self.image_size), scene.sensor, frame, number)
            for number, camera in enumerate(TABLETOP.cameras)
        }
        return Observation(images, scene.instruction)

    def render(self, camera: str, size: tuple[int, int]) -> Image:
        """A camera's clean uint8 (H, W, 3) image of ``size`` (height, width), up to 640 pixels a side."""
        now = self._now
        if self._renderer is None:
            self._renderer = Renderer()
        return self._renderer.render(now.model, now.data, camera, size)

    def state(self) -> SceneState:
        """Ground truth: objects, hand and cameras."""
        now = self._now
        return read_state(now.scene, now.model, now.data, self.image_size)

    def contacts(self) -> Contacts:
        """Ground truth: what touches what, and object speeds."""
        now = self._now
        return read_contacts(now.scene, now.model, now.data)

    def succeeded(self) -> bool:
        """Whether the task is done at this moment."""
        return solved(self.scene, self.state(), self.contacts())

    def point_maps(self, stride: int) -> NDArray[np.float32]:
        """The 3D point behind every stride × stride block's centre, in each camera.

        Returns:
            float32 (V, H // stride, W // stride, 3), metres in the world frame, at most 3 m from the camera.
        """
        now = self._now
        views = (read_camera(now.model, now.data, name, self.image_size) for name in TABLETOP.cameras)
        return np.stack([cast_point_map(now.model, now.data, view, stride) for view in views])

    def names(self, stride: int) -> NDArray[np.str_]:
        """What is seen at every stride × stride block's centre, in each camera.

        Returns:
            str (V, H // stride, W // stride): a thing's name, ``table``, ``arm``, ``gripper`` or ``background``.
        """
        now = self._now
        views = (read_camera(now.model, now.data, name, self.image_size) for name in TABLETOP.cameras)
        return np.stack([cast_names(now.model, now.data, view, stride) for view in views])

    def snapshot(self) -> NDArray[np.float64]:
        """Everything that moves, as one vector: simulator state and commanded hand pose; see :meth:`restore`."""
        now = self._now
        vector = np.empty(mujoco.mj_stateSize(now.model, _STATE))
        mujoco.mj_getState(now.model, now.data, vector, _STATE)
        return np.concatenate([vector, now.controller.position, now.controller.rotation.ravel()])

    def restore(self, vector: NDArray[np.float64], seed: int) -> None:
        """Go to a :meth:`snapshot` of the same task and seed, here or in another process.

        Raises:
            ValueError: the vector's length is not that of this task's scene for the seed.
        """
        now = self._episode
        if now is None or now.seed != seed:  # compiling a model takes far longer than setting its state
            now = self._build(seed)
        self._motion = None
        size = mujoco.mj_stateSize(now.model, _STATE)
        if vector.shape != (size + 12,):
            raise ValueError(
                f"snapshot: expected {size + 12} values for task '{self.task.name}', seed {seed}; got shape "
                f"{vector.shape}. Restore with the task and seed it was taken from"
            )
        mujoco.mj_setState(now.model, now.data, vector[:size], _STATE)
        mujoco.mj_forward(now.model, now.data)
        mujoco.mj_setState(now.model, now.data, vector[:size], _STATE)  # forward() moved the solver's warm start
        now.controller.position = vector[size : size + 3].copy()
        now.controller.rotation = vector[size + 3 :].reshape(3, 3).copy()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _now(self) -> _Episode:
        if self._episode is None:
            raise RuntimeError(f"world of task '{self.task.name}': call reset(seed) or restore(vector, seed) first")
        return self._episode

    def _build(self, seed: int) -> _Episode:
        scene = self.task.scene(seed)
        model = build_model(scene)
        self._episode = _Episode(seed, scene, model, mujoco.MjData(model), HandController(model))
        return self._episode
