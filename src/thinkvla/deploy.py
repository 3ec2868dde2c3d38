"""A checkpoint that acts: observations in, action chunks out. Nothing of training is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from thinkvla.acting import FixedPolicy, Speed
from thinkvla.checkpoint import load_checkpoint
from thinkvla.contract import ActionChunk, Embodiment, Image, Observation
from thinkvla.method.policy import ThinkVLA
from thinkvla.preprocessor import Preprocessor

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Prepared:
    """B observations, ready for the network.

    Attributes:
        images_NHW3: uint8 (B · V, H, W, 3), checked, cropped and at the size of the backbone's patches.
        instructions: B of them.
        points_NhwG: codes of the patches' 3D points, for a policy that is given them.
    """

    images_NHW3: Image
    instructions: tuple[str, ...]
    points_NhwG: Tensor | None


class DeployedPolicy:
    """A trained policy with its own preprocessor, on one device.

    :meth:`act` is :meth:`prepare`, :meth:`run` and :meth:`finish` in turn. A server may prepare the next observations
    in another thread while the network runs; :meth:`run` is for one thread at a time.

    Args:
        policy: the policy; moved to the device, and its weights stay as they are from then on.
        preprocessor: of the policy, for one embodiment.
        device: to run on.
        speed: how the network is run, see ``thinkvla.acting``.
        precision: of the backbone's weights; all that the method adds stays in float32.

    Attributes:
        embodiment: what it observes and commands.
        chunk: actions per chunk.

    Raises:
        ValueError: the device does not have the speed, or the preprocessor is for several embodiments.
    """

    def __init__(
        self,
        policy: ThinkVLA,
        preprocessor: Preprocessor,
        device: torch.device | str = "cpu",
        speed: Speed = "eager",
        precision: Precision = "float32",
    ) -> None:
        self.policy = policy.to(device).eval()
        if precision == "bfloat16":
            for parameter in policy.backbone.parameters():  # type: ignore[attr-defined]
                parameter.data = parameter.data.to(torch.bfloat16)  # buffers (rotary frequencies) keep float32
        self.preprocessor = preprocessor
        self.device = torch.device(device)
        self.embodiment: Embodiment = preprocessor.embodiment
        self.chunk: int = policy.config.chunk
        self.network = FixedPolicy(self.policy, preprocessor, speed)

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The next actions for each observation, checked against the embodiment.

        Raises:
            ContractError: an observation does not fit the embodiment.
        """
        return self.finish(self.run(self.prepare(observations)))

    def prepare(self, observations: Sequence[Observation]) -> Prepared:
        """Check observations, and crop and resize their views; raises ContractError as :meth:`act` does."""
        images = self.preprocessor.views(observations)
        points = self.preprocessor.points(observations, self.network.patches.grid)
        return Prepared(images, tuple(o.instruction for o in observations), points)

    def run(self, prepared: Prepared) -> Tensor:
        """Normalized actions (B, C, A), on the device and perhaps not computed yet."""
        return self.network(prepared.images_NHW3, prepared.instructions, prepared.points_NhwG)

    def finish(self, normalized_BCA: Tensor) -> list[ActionChunk]:
        """Wait for the network's actions; robot actions, one checked chunk per observation."""
        return self.preprocessor.action_chunks(normalized_BCA)


def load_policy(
    folder: Path | str,
    device: torch.device | str | None = None,
    embodiment: str | None = None,
    speed: Speed = "eager",
    precision: Precision = "float32",
) -> DeployedPolicy:
    """Load a checkpoint folder, or a shipped policy by its name, onto ``device`` (a GPU if there is one).

    Args:
        folder: the checkpoint.
        device: to run on.
        embodiment: the robot to act for; needed if the policy was trained for several.
        speed: how the network is run, see ``thinkvla.acting``.
        precision: of the backbone's weights.

    Raises:
        ValueError: the folder is not a complete checkpoint of this architecture, or the policy does not act for the
            embodiment, or acts for several and none is named, or the device does not have the speed.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    policy, preprocessor = load_checkpoint(folder)
    preprocessor = preprocessor if embodiment is None else preprocessor.only(embodiment)
    return DeployedPolicy(policy, preprocessor, device, speed, precision)
