"""What LeRobot's programs may choose of a thinkvla policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode
from lerobot.optim.optimizers import AdamWConfig
from lerobot.optim.schedulers import CosineDecayWithWarmupSchedulerConfig


@PreTrainedConfig.register_subclass("thinkvla")
@dataclass
class ThinkVLAConfig(PreTrainedConfig):
    """A thinkvla policy in LeRobot.

    Attributes:
        checkpoint: folder of a thinkvla policy, or the name of a shipped one; what it sees and commands, its chunk and
            its normalization are in there. Not kept in what LeRobot saves, which holds the policy itself.
        embodiment: the robot to act for; needed if the policy was trained for several.
        chunk: actions of a chunk; set from the checkpoint, and given only where LeRobot needs it before the policy is
            loaded (it must agree with the checkpoint).
        n_action_steps: actions executed of each chunk before the policy looks again; default all.
        speed: how the network is run when it acts, see ``thinkvla.acting``.
        skip_geometry_loss: train a policy that has a geometry adapter although LeRobot's batches bring no targets of a
            geometry teacher.
        backbone_lr: learning rate of the vision-language model.
        head_lr: of the action head.
        adapter_lr: of everything else.
        floor_lr: the cosine ends here.
        warmup_steps: linear warm-up.
        decay_steps: length of the cosine; LeRobot shortens it for shorter runs.
        normalization_mapping: nothing is normalized by LeRobot: thinkvla does it, by the checkpoint's statistics.
    """

    checkpoint: str | None = None
    embodiment: str | None = None
    chunk: int = 8
    n_action_steps: int | None = None
    speed: str = "eager"
    skip_geometry_loss: bool = False
    backbone_lr: float = 1e-5
    head_lr: float = 2e-4
    adapter_lr: float = 2.5e-5
    floor_lr: float = 1e-6
    warmup_steps: int = 500
    decay_steps: int = 30_000
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = {kind for kind, mode in self.normalization_mapping.items() if mode is not NormalizationMode.IDENTITY}
        if wrong:
            raise ValueError(
                f"normalization_mapping: {sorted(wrong)} would be normalized twice; thinkvla normalizes itself, so "
                "leave them at IDENTITY"
            )

    def get_optimizer_preset(self) -> AdamWConfig:
        """AdamW as in thinkvla's recipes; the policy's parameter groups bring learning rates of their own."""
        return AdamWConfig(lr=self.adapter_lr, betas=(0.9, 0.95), weight_decay=1e-8, grad_clip_norm=1.0)

    def get_scheduler_preset(self) -> CosineDecayWithWarmupSchedulerConfig:
        """Warm-up and cosine, as a factor of every group's learning rate."""
        return CosineDecayWithWarmupSchedulerConfig(
            num_warmup_steps=self.warmup_steps,
            num_decay_steps=self.decay_steps,
            peak_lr=self.adapter_lr,
            decay_lr=min(self.floor_lr, self.adapter_lr),
        )

    def validate_features(self) -> None:
        """Features are compared with the checkpoint's embodiment when the policy is made."""

    @property
    def observation_delta_indices(self) -> None:
        """The present observation alone."""
        return None

    @property
    def action_delta_indices(self) -> list[int]:
        """One chunk from the present step on."""
        return list(range(self.chunk))

    @property
    def reward_delta_indices(self) -> None:
        """No rewards."""
        return None
