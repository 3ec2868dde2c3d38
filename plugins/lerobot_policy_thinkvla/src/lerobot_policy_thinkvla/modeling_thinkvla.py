"""A thinkvla policy with LeRobot's methods. Numbers are thinkvla's own; this only translates."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from lerobot_policy_thinkvla.batches import check_features, features, observations, samples
from lerobot_policy_thinkvla.configuration_thinkvla import ThinkVLAConfig
from thinkvla.checkpoint import load_checkpoint, save_checkpoint
from thinkvla.deploy import DeployedPolicy
from thinkvla.method.objective import counts, robot_sums, weights

FOLDER = "thinkvla"
"""Where in a folder of LeRobot's the policy itself is: an ordinary thinkvla checkpoint."""


class ThinkVLAPolicy(PreTrainedPolicy):
    """Acts and trains like any policy of LeRobot.

    Actions go in and come out as the robot's own; the policy's preprocessor normalizes them.

    Args:
        config: names the checkpoint.
        **given: what LeRobot's factory passes to every policy (statistics and description of the data set); the
            checkpoint's own are used.

    Attributes:
        network: ``thinkvla.method.policy.ThinkVLA``.
        preprocessor: of the checkpoint, for one embodiment.

    Raises:
        ValueError: no checkpoint is named, or it does not fit the configuration.
    """

    config_class = ThinkVLAConfig
    name = "thinkvla"

    def __init__(self, config: ThinkVLAConfig, **given: Any) -> None:
        super().__init__(config)
        if config.checkpoint is None:
            raise ValueError(
                "policy.checkpoint is not given; name a folder of a thinkvla policy, or a shipped one, as tabletop_r1"
            )
        self.network, preprocessor = load_checkpoint(config.checkpoint)
        self.preprocessor = preprocessor if config.embodiment is None else preprocessor.only(config.embodiment)
        self.embodiment = self.preprocessor.embodiment
        chunk = self.network.config.chunk
        if config.chunk != chunk:
            raise ValueError(f"policy.chunk is {config.chunk}, but the checkpoint predicts {chunk} actions; set it so")
        self.steps = chunk if config.n_action_steps is None else config.n_action_steps
        if not 1 <= self.steps <= chunk:
            raise ValueError(f"policy.n_action_steps is {self.steps}; this policy's chunks allow 1 to {chunk}")
        inputs, outputs = features(self.embodiment)
        check_features(config.input_features or inputs, inputs, self.embodiment)
        check_features(config.output_features or outputs, outputs, self.embodiment)
        config.input_features, config.output_features = inputs, outputs
        self._acting: DeployedPolicy | None = None
        self.reset()
        self.to(config.device)
        self.eval()

    def train(self, mode: bool = True) -> ThinkVLAPolicy:
        """Training changes weights, of which acting keeps things it has computed: those are dropped."""
        if mode:
            self._acting = None
        super().train(mode)
        return self

    def reset(self) -> None:
        """A new episode: what is left of the last chunk is not executed."""
        self._left: deque[Tensor] = deque()

    def get_optim_params(self) -> list[dict[str, Any]]:
        """Three groups with learning rates of their own, as in thinkvla's recipes."""
        rates = {"backbone": self.config.backbone_lr, "action_head": self.config.head_lr}
        groups: dict[str, list[Tensor]] = {}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                room = name.split(".", 1)[0]
                groups.setdefault(room if room in rates else "adapters", []).append(parameter)
        return [{"params": group, "lr": rates.get(room, self.config.adapter_lr)} for room, group in groups.items()]

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """The objective of a batch of demonstrations, and the value of each of its terms.

        Raises:
            ValueError: the policy has a geometry adapter, whose targets LeRobot's batches do not bring, and the
                configuration does not say ``skip_geometry_loss``.
        """
        robot = self.preprocessor.robot_batch(samples(batch, self.embodiment)).to(self._device)
        if self.training:
            robot = replace(robot, draws_B2=torch.rand(len(robot.actions_BCA), 2, device=self._device))
        output, _ = self.network(robot=robot)
        if self.config.skip_geometry_loss:
            output = replace(output, features_BVhwG=None)
        number, weight = counts(robot, None), weights(self.network.config)
        terms = {term: total / number[term] for term, total in robot_sums(output, robot).items()}
        loss = torch.stack([weight[term] * value for term, value in terms.items()]).sum()
        return loss, {term: float(value.detach()) for term, value in terms.items()}

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], **unused: Any) -> Tensor:
        """The next C actions for each observation: (B, C, A), as the robot takes them."""
        self.eval()
        if self._acting is None or self._acting.device != self._device:
            self._acting = DeployedPolicy(self.network, self.preprocessor, self._device, self.config.speed)
        chunks = self._acting.act(observations(batch, self.embodiment))
        return torch.from_numpy(np.stack([chunk.actions for chunk in chunks])).to(self._device)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **unused: Any) -> Tensor:
        """The next action for each observation, (B, A), of a new chunk when the last one has been executed."""
        if not self._left:
            self._left.extend(self.predict_action_chunk(batch)[:, : self.steps].unbind(1))
        return self._left.popleft()

    def _save_pretrained(self, save_directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        if state_dict is not None:
            raise ValueError("weights spread over processes (FSDP) are not saved here; train such policies by thinkvla")
        config = deepcopy(self.config)
        config.checkpoint = None  # the policy itself lies beside it
        config._save_pretrained(save_directory)
        save_checkpoint(Path(save_directory) / FOLDER, self.network, self.preprocessor)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: PreTrainedConfig | None = None,
        revision: str | None = None,
        **given: Any,
    ) -> ThinkVLAPolicy:
        """A policy that LeRobot saved, from a folder or the Hub, in evaluation mode.

        Raises:
            ValueError: there is no thinkvla policy in it.
        """
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            folder = Path(snapshot_download(str(pretrained_name_or_path), revision=revision))
        if not (folder / FOLDER).is_dir():
            raise ValueError(
                f"{folder} has no folder '{FOLDER}', so it is no thinkvla policy that LeRobot saved; to begin with a "
                "thinkvla checkpoint, give it as policy.checkpoint"
            )
        if config is None:
            config = PreTrainedConfig.from_pretrained(folder)
        config = deepcopy(config)
        config.checkpoint = str(folder / FOLDER)
        return cls(config, **given)

    @property
    def _device(self) -> torch.device:
        return self.network.query_ids.device
