"""A checkpoint that acts: observations in, action chunks out. Nothing of training is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from thinkvla.checkpoint import load_checkpoint
from thinkvla.contract import ActionChunk, Embodiment, Observation
from thinkvla.method.policy import ThinkVLA
from thinkvla.preprocessor import Preprocessor


class DeployedPolicy:
    """A trained policy with its own preprocessor, on one device.

    Attributes:
        embodiment: what it observes and commands.
        chunk: actions per chunk.
    """

    def __init__(self, policy: ThinkVLA, preprocessor: Preprocessor, device: torch.device | str = "cpu") -> None:
        self.policy = policy.to(device).eval()
        self.preprocessor = preprocessor
        self.device = torch.device(device)
        self.embodiment: Embodiment = preprocessor.embodiment
        self.chunk: int = policy.config.chunk

    def act(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The next actions for each observation, checked against the embodiment.

        Raises:
            ContractError: an observation does not fit the embodiment.
        """
        tokens = self.preprocessor.act_tokens(observations).to(self.device)
        return self.preprocessor.action_chunks(self.policy.act(tokens))


def load_policy(
    folder: Path | str, device: torch.device | str | None = None, embodiment: str | None = None
) -> DeployedPolicy:
    """Load a checkpoint folder, or a shipped policy by its name, onto ``device`` (a GPU if there is one).

    Args:
        folder: the checkpoint.
        device: to run on.
        embodiment: the robot to act for; needed if the policy was trained for several.

    Raises:
        ValueError: the folder is not a complete checkpoint of this architecture, or the policy does not act for the
            embodiment, or acts for several and none is named.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    policy, preprocessor = load_checkpoint(folder)
    return DeployedPolicy(policy, preprocessor if embodiment is None else preprocessor.only(embodiment), device)
