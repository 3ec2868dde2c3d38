"""Every choice of the method in one place: the ablation switches of the paper and what it leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fusion = Literal["add", "gate", "cross_attention"]
Pooling = Literal["mean", "attention"]
QAData = Literal["none", "2d", "3d"]


@dataclass(frozen=True)
class MethodConfig:
    """The method's switches; the defaults are the paper's full model (R7).

    Attributes:
        qa_data: questions co-trained on: none, general image-text rows (2d), or spatial reasoning beside them (3d).
        geometry_adapter: align intermediate vision features with a 3D teacher and inject them (paper, part 1).
        reasoning_adapter: a learned map between student and teacher latents (paper, part 2); without it, identity.
        reasoning_anchor: the shared token τ_R; without it the last task token is distilled from the last token of
            the reasoning prompt.
        anchor_tokens: R, how many tokens make up the anchor [open in the paper].
        vision_block: index of the vision block whose features are aligned; 17 of 24 in Qwen3-VL-2B [open: 17, 18].
        geometry_dim: G, feature size of the geometry teacher; 2048 for VGGT.
        explicit_points: a baseline, not the paper's method: the policy is given its patches' true 3D points, at
            deployment too, in place of the geometry adapter.
        chunk: C, actions predicted at once.
        action_dim: A.
        fusion: how the two latents join the action queries.
        pooling: how patches become one latent per query: mean over patches and views, or attention [open].
        branch_dropout: probability of dropping each branch, per sample, in training [open].
        geometry_weight: weight of L_geo.
        reasoning_weight: weight of L_reasoning.
        language_weight: weight of L_CE.
    """

    qa_data: QAData = "3d"
    geometry_adapter: bool = True
    reasoning_adapter: bool = True
    reasoning_anchor: bool = True
    anchor_tokens: int = 1
    vision_block: int = 17
    geometry_dim: int = 2048
    explicit_points: bool = False
    chunk: int = 8
    action_dim: int = 7
    fusion: Fusion = "add"
    pooling: Pooling = "mean"
    branch_dropout: float = 0.1
    geometry_weight: float = 0.5
    reasoning_weight: float = 0.5
    language_weight: float = 0.1

    def __post_init__(self) -> None:
        for field in ("anchor_tokens", "chunk", "action_dim", "geometry_dim"):
            if getattr(self, field) < 1:
                raise ValueError(f"method.{field} is {getattr(self, field)}; expected at least 1")
        if not 0 <= self.branch_dropout < 1:
            raise ValueError(f"method.branch_dropout is {self.branch_dropout}; expected 0 <= p < 1")
        if self.explicit_points and self.geometry_adapter:
            raise ValueError("method.explicit_points stands in place of method.geometry_adapter; set that to false")

    @property
    def distils(self) -> bool:
        """Whether reasoning is distilled at all: the adapter or the anchor is there (R5, R6, R7)."""
        return self.reasoning_adapter or self.reasoning_anchor

    @property
    def anchors(self) -> int:
        """Anchor tokens that stand in the prompts: R, or 0 without the anchor."""
        return self.anchor_tokens if self.reasoning_anchor else 0
