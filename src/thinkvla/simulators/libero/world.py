"""One task of LIBERO in a simulator: layouts, steps, ground truth and the views that policies are trained on and see.

Runs in the environment ``libero`` (mujoco 3.2.3, robosuite 1.4.0), with ``MUJOCO_GL=egl`` where views are rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Actions, Image
from thinkvla.simulators.libero.control import Start, control_step
from thinkvla.simulators.libero.sensing import Sensor
from thinkvla.simulators.libero.truth import Truth
from thinkvla.simulators.libero.views import RENDER_SIZE, as_seen, mirrored, points_behind
from thinkvla.tabletop.state import CameraState

SUITES = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520}
"""Suite → control steps in which the field asks for success."""
CAMERAS = {"front": "agentview", "wrist": "robot0_eye_in_hand"}
"""View of the embodiment ``libero`` → camera of the simulator."""
WAIT_STEPS = 10
"""Steps at an episode's start in which things settle; the hand is told to stay and to open."""
_WAIT = np.array([0.0] * 6 + [-1.0])


class World:
    """A simulator of one task; a context manager.

    Args:
        suite: name of a suite, one of :data:`SUITES`.
        number: the task's place in the suite, from 0.
        rendering: whether views can be rendered; without it a step costs less.

    Attributes:
        shows_points: whether the 3D points behind a step's views can be had too (:meth:`points_seen`).

    Raises ValueError for an unknown suite or task.
    """

    def __init__(self, suite: str, number: int, rendering: bool = True) -> None:
        from libero.libero import benchmark
        from libero.libero.envs.env_wrapper import ControlEnv

        if suite not in SUITES:
            raise ValueError(f"no LIBERO suite '{suite}'; there are {', '.join(SUITES)}")
        tasks = benchmark.get_benchmark_dict()[suite]()
        if not 0 <= number < tasks.n_tasks:
            raise ValueError(f"suite {suite} has tasks 0 to {tasks.n_tasks - 1}, not {number}")
        self.suite, self.number, self.max_steps = suite, number, SUITES[suite]
        self.name, self.instruction = tasks.get_task(number).name, tasks.get_task(number).language
        self._tasks = tasks
        self._env = ControlEnv(
            str(self._problem_file()),
            use_camera_obs=False,
            has_offscreen_renderer=rendering,
        )
        self.shows_points = False
        self._initializers = len(self._env.env.object_property_initializers)
        self._seed: int | None = None  # of the last reset; none: the constructor's, which nobody chose
        self._begin()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reset(self, seed: int) -> None:
        """A new layout, the same for the same seed; objects still have to settle (:meth:`wait`).

        The simulator's model is made anew unless the seed is that of the last reset.
        """
        if seed == self._seed:
            self._start.restore()
            return
        self._take_renderer()
        # LIBERO adds them again in each reset, and each draws a number before fixtures are placed.
        del self._env.env.object_property_initializers[self._initializers :]
        self._env.seed(seed)
        self._env.reset()
        self._seed = seed
        self._begin()

    def begin(self, seed: int, layout: int) -> None:
        """Begin from one of the benchmark's own layouts, with the fixtures where ``seed`` puts them."""
        self.reset(seed)
        self.restore(self.init_states()[layout])

    def init_states(self) -> NDArray[np.float64]:
        """The benchmark's own layouts, (50, N): for evaluation only."""
        states: NDArray[np.float64] = np.asarray(self._tasks.get_task_init_states(self.number))
        return states

    def restore(self, init_state: NDArray[np.float64]) -> None:
        """Begin from one of the benchmark's layouts; fixtures stay where the last :meth:`reset` put them."""
        self._env.set_init_state(init_state)

    def wait(self, steps: int = WAIT_STEPS, views: Sequence[str] = ()) -> None:
        """Let things settle while the hand stays where it is; the last step as :meth:`step`."""
        for _ in range(steps - 1):
            self._step(_WAIT, ())
        self._step(_WAIT, views)

    def step(self, action: Actions, views: Sequence[str] = ()) -> None:
        """Execute one action (7,) of the embodiment ``libero``.

        Args:
            action: the action.
            views: what is to be :meth:`seen` of this step, at the moment at which robosuite samples its cameras, 2 ms
                before its end.
        """
        self._step(to_simulator(action), views)

    def _step(self, command: NDArray[np.float64], views: Sequence[str]) -> None:
        self._frames.clear()
        self._depths.clear()
        control_step(self._env.env, command, (lambda: self._take(views)) if views else None)

    def _take(self, views: Sequence[str]) -> None:
        for view in views:
            self._frames[view] = self._picture(view)

    def seen(self, size: tuple[int, int]) -> dict[str, Image]:
        """View → uint8 (H, W, 3) of the last step, as policies see it; those that the step was asked for."""
        return {view: as_seen(frame, size) for view, frame in self._frames.items()}

    def points_seen(self, size: tuple[int, int], stride: int) -> dict[str, NDArray[np.float32]]:
        """View → (H // stride, W // stride, 3) of what is :meth:`seen`, metres from the robot's base."""
        return {
            view: (points_behind(depth, replace(camera, size=size), stride) - self._sensor.base).astype(np.float32)
            for view, (depth, camera) in self._depths.items()
        }

    def succeeded(self) -> bool:
        """Whether the task is done."""
        return bool(self._env.check_success())

    def truth(self) -> Truth:
        """The scene at this moment."""
        return self._sensor.truth()

    def render(self, size: tuple[int, int], views: Sequence[str] = tuple(CAMERAS)) -> dict[str, Image]:
        """View → uint8 (H, W, 3), as policies see it."""
        return {view: as_seen(self._picture(view), size) for view in views}

    def render_with_points(self, size: tuple[int, int], stride: int) -> tuple[dict[str, Image], NDArray[np.float32]]:
        """As :meth:`render`, and the points (V, H // stride, W // stride, 3) seen, metres from the robot's base."""
        images, points = {}, []
        for view, camera in zip(CAMERAS, self.cameras(size), strict=True):
            image, depth = self._render(view, depth=True)
            images[view] = as_seen(image, size)
            points.append(points_behind(self._sensor.metres(depth), camera, stride) - self._sensor.base)
        return images, np.stack(points).astype(np.float32)

    def cameras(self, size: tuple[int, int]) -> tuple[CameraState, ...]:
        """Where the views of ``size`` are seen from, named as the views, mirrored as they are."""
        return tuple(mirrored(self._sensor.camera(camera, size), view) for view, camera in CAMERAS.items())

    def close(self) -> None:
        """Free the simulator."""
        self._take_renderer()
        self._env.close()

    def _problem_file(self) -> Path:
        return Path(self._tasks.get_task_bddl_file_path(self.number))

    def _picture(self, view: str) -> Image:
        """What a camera shows, uint8 (256, 256, 3), bottom row first."""
        if not self.shows_points:
            picture: Image = self._render(view)
            return picture
        picture, depth = self._render(view, depth=True)
        camera = mirrored(self._sensor.camera(CAMERAS[view], picture.shape[:2]), view)
        self._depths[view] = self._sensor.metres(depth), camera
        return picture

    def _render(self, view: str, depth: bool = False) -> Any:
        """As of robosuite's simulator."""
        self._take_renderer()
        return self._env.sim.render(RENDER_SIZE, RENDER_SIZE, camera_name=CAMERAS[view], depth=depth)

    def _take_renderer(self) -> None:
        """Make this simulator's renderer the current one: to draw with, and before it is freed.

        robosuite frees what is current and leaves none: another simulator's pictures would be noise, without a word.
        """
        context = self._env.sim._render_context_offscreen
        if context is not None:
            context.gl_ctx.make_current()

    def _begin(self) -> None:
        """Look at the model that a hard reset has made."""
        self._sensor = Sensor(self._env.env)
        self._frames: dict[str, NDArray[np.uint8]] = {}
        self._depths: dict[str, tuple[NDArray[np.float32], CameraState]] = {}
        self._env.env.visualize(dict.fromkeys(self._env._visualizations, False))  # no markers at the hand
        self._start = Start(self._env.env)


def to_simulator(action: Actions) -> NDArray[np.float64]:
    """An action of the embodiment ``libero`` (gripper 1 open, 0 closed) the simulator's way (−1 open, +1 closed)."""
    command = np.asarray(action, dtype=np.float64).copy()
    command[6] = 1.0 - 2.0 * (command[6] > 0.5)
    return command
