"""One task in ManiSkill3 on the CPU: reset to a layout, step, look, and whether it is done."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import Image
from thinkvla.simulators.simpler.actions import maniskill_action
from thinkvla.simulators.simpler.assets import Assets
from thinkvla.simulators.simpler.state import Pose, SceneState
from thinkvla.simulators.simpler.tasks import LAYOUTS, Task

CAMERA = "3rd_view_camera"


class World:
    """One task. Looking costs more than stepping, so a picture is only rendered when it is asked for.

    A world takes seconds to make and is to be closed before the next one is made. ManiSkill3 reads where its assets are
    when it is imported, so a process has one folder of them.

    Args:
        task: the task.
        assets: its files.
    """

    def __init__(self, task: Task, assets: Assets) -> None:
        self.task = task
        self._env: Any = _environment(task, assets)
        (said,) = self._env.get_language_instruction()
        if said != task.instruction:
            raise RuntimeError(
                f"{task.environment} asks to '{said}', expected '{task.instruction}'; use its pinned release"
            )

    def reset(self, layout: int) -> None:
        """Place everything as in a layout, 0 to 23; raises ValueError for another."""
        if layout not in range(LAYOUTS):
            raise ValueError(f"SimplerEnv's task '{self.task.name}' has layouts 0 to {LAYOUTS - 1}, not {layout}")
        # A new scene for every episode: PhysX's contact caches would carry over, and episodes depend on their order.
        self._env.reset(seed=layout, options={"reconfigure": True, "episode_id": layout})

    def step(self, action: NDArray[np.float32]) -> bool:
        """Execute one action (7,) of the ``bridge`` embodiment for 0.2 s; returns whether the task is done now."""
        arm = self._env.agent.controller.controllers["arm"]
        target, hand = (pose.sp.p.astype(np.float64) for pose in (arm._target_pose, arm.ee_pose_at_base))
        *_, info = self._env.step(maniskill_action(action, target, hand))
        return bool(info["success"].item())

    def image(self) -> Image:
        """(480, 640, 3) the third-person view, RGB, the photograph behind what the robot and the objects cover."""
        self._env.rendering = True
        try:
            seen = self._env.get_obs()
        finally:
            self._env.rendering = False
        view: Image = seen["sensor_data"][CAMERA]["rgb"][0].to("cpu").numpy().astype(np.uint8)
        return view

    def state(self) -> SceneState:
        """The truth about this moment, for the expert."""
        env = self._env
        arm, robot = env.agent.controller.controllers["arm"], env.agent.robot
        to_base = robot.pose.sp.inv()
        source, goal = (env.objs[name] for name in (env.source_obj_name, env.target_obj_name))
        return SceneState(
            hand=_pose(arm.ee_pose_at_base.sp),
            target=_pose(arm._target_pose.sp),
            source=_pose(to_base * source.pose.sp),
            goal=_pose(to_base * goal.pose.sp),
            opening=float(robot.get_qpos()[0, -2:].sum()),
            touching=bool(env.agent.is_grasping(source).item()),
        )

    def close(self) -> None:
        """Free the scene and its renderer."""
        self._env.close()


def _pose(pose: Any) -> Pose:
    return Pose(np.asarray(pose.p, np.float64), np.asarray(pose.q, np.float64))


def _environment(task: Task, assets: Assets) -> Any:
    """ManiSkill3's environment of a task, changed to render only when ``rendering`` is set."""
    os.environ["MS_ASSET_DIR"] = str(assets.root)  # read when ManiSkill3 is imported
    os.environ["MS_SKIP_ASSET_DOWNLOAD_PROMPT"] = "1"
    import mani_skill
    import mani_skill.envs.tasks.digital_twins.bridge_dataset_eval
    from mani_skill.utils.registration import REGISTERED_ENVS

    if mani_skill.ASSET_DIR.parent != assets.root:
        raise RuntimeError(f"ManiSkill3 was imported with assets {mani_skill.ASSET_DIR.parent}, not {assets.root}")
    published: Any = REGISTERED_ENVS[task.environment].cls

    class Environment(published):  # type: ignore[misc]  # a class that only exists at run time
        rendering = False

        def __init__(self, **options: Any) -> None:
            # Lists of the class in ManiSkill3 3.0.1: a second environment would find the first one's objects in them.
            self._objects_to_remove_from_greenscreen: list[Any] = []
            self._rgb_overlay_images: dict[str, Any] = {}
            super().__init__(**options)

        def get_obs(self, info: Any = None, unflattened: bool = False) -> Any:
            return super().get_obs(info, unflattened) if self.rendering else {}

    return Environment(obs_mode="rgb+segmentation", num_envs=1, sim_backend="physx_cpu", render_backend="cpu")
