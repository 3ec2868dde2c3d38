"""One task of LIBERO in a simulator: layouts, steps, ground truth and the views that policies are trained on and see.

Runs in the environment ``libero`` (mujoco 3.2.3, robosuite 1.4.0), with ``MUJOCO_GL=egl`` where views are rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from thinkvla.contract import Actions, Image
from thinkvla.simulators.libero.sensing import Sensor
from thinkvla.simulators.libero.truth import Truth
from thinkvla.tabletop.state import CameraState

SUITES = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520}
"""Suite → control steps in which the field asks for success."""
CAMERAS = {"front": "agentview", "wrist": "robot0_eye_in_hand"}
"""View of the embodiment ``libero`` → camera of the simulator."""
RENDER_SIZE = 256
WAIT_STEPS = 10
"""Steps at an episode's start in which things settle; the hand is told to stay and to open."""
_WAIT = np.array([0.0] * 6 + [-1.0])


class World:
    """A simulator of one task; a context manager.

    Args:
        suite: name of a suite, one of :data:`SUITES`.
        number: the task's place in the suite, from 0.
        rendering: whether views can be rendered; without it a step costs less.

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
            str(Path(tasks.get_task_bddl_file_path(number))),
            use_camera_obs=False,
            has_offscreen_renderer=rendering,
        )
        self._sensor = Sensor(self._env.env)

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reset(self, seed: int) -> None:
        """A new layout, the same for the same seed; objects still have to settle (:meth:`wait`)."""
        self._env.seed(seed)
        self._env.reset()
        self._sensor = Sensor(self._env.env)

    def init_states(self) -> NDArray[np.float64]:
        """The benchmark's own layouts, (50, N): for evaluation only."""
        states: NDArray[np.float64] = np.asarray(self._tasks.get_task_init_states(self.number))
        return states

    def restore(self, init_state: NDArray[np.float64]) -> None:
        """Begin from one of the benchmark's layouts; fixtures stay where the last :meth:`reset` put them."""
        self._env.set_init_state(init_state)

    def wait(self, steps: int = WAIT_STEPS) -> None:
        """Let things settle while the hand stays where it is."""
        for _ in range(steps):
            self._env.step(_WAIT)

    def step(self, action: Actions) -> None:
        """Execute one action (7,) of the embodiment ``libero``."""
        self._env.step(to_simulator(action))

    def succeeded(self) -> bool:
        """Whether the task is done."""
        return bool(self._env.check_success())

    def truth(self) -> Truth:
        """The scene at this moment."""
        return self._sensor.truth()

    def render(self, size: tuple[int, int], views: Sequence[str] = tuple(CAMERAS)) -> dict[str, Image]:
        """View → uint8 (H, W, 3), as policies see it."""
        sim = self._env.sim
        return {view: as_seen(sim.render(RENDER_SIZE, RENDER_SIZE, camera_name=CAMERAS[view]), size) for view in views}

    def cameras(self, size: tuple[int, int]) -> tuple[CameraState, ...]:
        """Where the views are seen from, named as the views, mirrored as they are."""
        return tuple(mirrored(self._sensor.camera(camera, size), view) for view, camera in CAMERAS.items())

    def point_maps(self, size: tuple[int, int], stride: int) -> NDArray[np.float32]:
        """True 3D points (V, H // stride, W // stride, 3) behind the views, metres from the robot's base."""
        maps = [self._sensor.point_map(camera, stride) for camera in self.cameras(size)]
        return np.stack(maps) - self._sensor.base.astype(np.float32)

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()


def to_simulator(action: Actions) -> NDArray[np.float64]:
    """An action of the embodiment ``libero`` (gripper 1 open, 0 closed) the simulator's way (−1 open, +1 closed)."""
    command = np.asarray(action, dtype=np.float64).copy()
    command[6] = 1.0 - 2.0 * (command[6] > 0.5)
    return command


def as_seen(raw: Any, size: tuple[int, int]) -> Image:
    """A rendered image (H, W, 3), bottom row first, as the published demonstrations show it, of ``size``.

    They turn it by 180°, which leaves it upright and mirrored.
    """
    turned = np.ascontiguousarray(raw[::-1, ::-1])
    if turned.shape[:2] == size:
        return turned
    height, width = size
    return np.asarray(Pillow.fromarray(turned).resize((width, height), Pillow.Resampling.BILINEAR))


def mirrored(camera: CameraState, name: str) -> CameraState:
    """The camera whose picture is the mirror image of another's: its first axis points to the left."""
    rotation = camera.rotation * [-1.0, 1.0, 1.0]
    return CameraState(name, camera.position, rotation, camera.fovy, camera.size)
