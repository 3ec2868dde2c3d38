"""vla-eval's own benchmark classes, which speak other messages than ours: in its container images, or beside ours.

A policy sees what such a class shows under the policy's own names and in its size, and its actions are put into the
class's conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from vla_eval import api
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA, DimSpec

from thinkvla.contract import Actions, ContractError, Embodiment
from thinkvla.evaluate.server import PolicyServer

EVALUATION = "evaluation"
ANSWER_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Harness:
    """One of vla-eval's classes.

    Attributes:
        path: its import string.
        params: arguments that are always the same.
        robot: name of the embodiment that it is.
        cameras: our name of a view → the class's.
        action: component → what the class accepts.
        command: actions (N, D) of the embodiment → the class's.
    """

    path: str
    params: Mapping[str, Any]
    robot: str
    cameras: Mapping[str, str]
    action: Mapping[str, DimSpec]
    command: Callable[[Actions], Actions]

    def check(self, embodiment: Embodiment) -> None:
        """Raise ContractError when a policy is for another robot, or sees what the class does not show."""
        unknown = [camera for camera in embodiment.cameras if camera not in self.cameras]
        if embodiment.name != self.robot or unknown:
            raise ContractError(
                f"this benchmark is the robot '{self.robot}' with views {', '.join(self.cameras)}; the policy is for "
                f"'{embodiment.name}' with {', '.join(embodiment.cameras)}"
            )
        if embodiment.point_map_size is not None:
            raise ContractError("this benchmark's own class shows no 3D points, which the policy is given")


class HarnessServer(PolicyServer):
    """Serves a policy to one of vla-eval's classes.

    Args:
        policy: as of :class:`PolicyServer`.
        harness: the class.
        execute: as of :class:`PolicyServer`.

    Raises ContractError when they do not fit.
    """

    def __init__(self, policy: Any, harness: Harness, *, execute: int | None = None) -> None:
        harness.check(policy.embodiment)
        super().__init__(policy, execute=execute)
        self._harness = harness

    def get_action_spec(self) -> dict[str, DimSpec]:
        """What the class accepts; actions are converted to it."""
        return dict(self._harness.action)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """What is needed of the class."""
        views = {self._harness.cameras[camera]: IMAGE_RGB for camera in self.policy.embodiment.cameras}
        return {**views, "language": LANGUAGE}

    def get_observation_params(self) -> dict[str, Any]:
        """Nothing: the class renders at every step."""
        return {}

    async def on_observation(self, obs: dict[str, Any], ctx: Any) -> None:
        """Take the class's observation as the policy's."""
        await super().on_observation(self._ours(obs) if ctx.step % self.execute == 0 else obs, ctx)

    def predict_batch(self, obs_batch: list[dict[str, Any]], ctx_batch: list[Any]) -> list[dict[str, Any]]:
        """As :meth:`PolicyServer.predict_batch`, in the class's conventions."""
        chunks = super().predict_batch(obs_batch, ctx_batch)
        return [{"actions": self._harness.command(chunk["actions"])} for chunk in chunks]

    def _ours(self, message: dict[str, Any]) -> dict[str, Any]:
        embodiment, shown = self.policy.embodiment, message["images"]
        images = {
            camera: _resized(shown[self._harness.cameras[camera]], embodiment.image_size)
            for camera in embodiment.cameras
        }
        return {"images": images, "task_description": message["task_description"]}


def run_in_container(
    server: HarnessServer, harness: Harness, image: str, *, params: Mapping[str, Any], episodes: int, output: Path
) -> list[dict[str, Any]]:
    """Run vla-eval's class in one of its images, by its own means, and return its episode records as ``parallel.py``.

    Args:
        server: the policy.
        harness: the class.
        image: name of the image; it must be there.
        params: arguments of the class, such as its suite.
        episodes: of each task.
        output: new folder for vla-eval's recording.

    Raises RuntimeError when the container cannot be started or fails.
    """
    config = {
        "server": {"timeout": ANSWER_TIMEOUT_S},
        "output_dir": str(output.resolve()),
        "docker": {"image": image, "user": "host"},
        "benchmarks": [
            {"benchmark": harness.path, "episodes_per_task": episodes, "params": {**harness.params, **params}}
        ],
    }
    output.mkdir(parents=True)
    aggregates = api.evaluate(server, config, eval_id=EVALUATION, docker=True)
    return [
        {**episode, "task": task["task"], "rows": []}
        for aggregate in aggregates
        for task in aggregate["tasks"]
        for episode in task["episodes"]
    ]


def _resized(image: Any, size: tuple[int, int]) -> Any:
    """uint8 (H, W, 3), bilinear, as our own LIBERO benchmark resizes."""
    if image.shape[:2] == size:
        return image
    height, width = size
    return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR))


def _closing(actions: Actions) -> Actions:
    """Gripper 1 open, 0 closed → −1 open, +1 closed."""
    commands = np.array(actions, dtype=np.float32)
    commands[..., 6] = 1.0 - 2.0 * (commands[..., 6] > 0.5)
    return commands


LIBERO = Harness(
    path="vla_eval.benchmarks.libero.benchmark:LIBEROBenchmark",
    params={"seed": 7, "send_wrist_image": True},
    robot="libero",
    cameras={"front": "agentview", "wrist": "wrist"},
    action={"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS},
    command=_closing,
)
