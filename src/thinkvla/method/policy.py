"""ThinkVLA: a vision-language backbone and the paper's three parts, for co-training and for deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from thinkvla.method.action_head import ActionHead
from thinkvla.method.batch import QuestionBatch, RobotBatch, Tokens
from thinkvla.method.config import MethodConfig
from thinkvla.method.geometry import Adapter
from thinkvla.method.integration import Integration, Projection
from thinkvla.method.packing import block_mask, restart_positions, select
from thinkvla.method.prompts import IGNORE, PAD, STUDENT, TEACHER
from thinkvla.method.reasoning import student_latents, teacher_latents


class Backbone(Protocol):
    """A vision-language model, as far as the method needs one.

    Attributes:
        hidden_size: D, width of the language model.
        vision_size: E, width of the vision encoder.
        vision_blocks: number of blocks in the vision encoder.
        blockwise: whether its attention takes an arbitrary mask, as the packed forward needs.
    """

    hidden_size: int
    vision_size: int
    vision_blocks: int
    blockwise: bool

    def positions(self, ids_BL: Tensor, real_BL: Tensor, grids_N3: Tensor | None) -> Tensor:
        """Rotary positions (3, B, L) of each sequence read from left to right."""
        ...

    def encode(
        self,
        tokens: Tokens,
        positions_3BL: Tensor,
        mask_B1LL: Tensor,
        vision_block: int | None,
        added_NhwE: Tensor | None = None,  # to the features of the last vision block
    ) -> tuple[Tensor, Tensor | None]:
        """Last hidden states (B, L, D), and one vision block's features (images, h, w, E) in raster order."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores (..., vocabulary)."""
        ...


@dataclass(frozen=True)
class RobotOutput:
    """What one batch of demonstrations gives.

    Attributes:
        actions_BCA: predicted normalized actions, float32.
        features_BVhwG: F_geo, None without a geometry adapter.
        student_BRD: Rea(H_student), None without distillation.
        teacher_BRD: H_teacher, detached; None without distillation or at deployment.
        anchor_BRD: H_student itself, for diagnostics; None without distillation.
    """

    actions_BCA: Tensor
    features_BVhwG: Tensor | None
    student_BRD: Tensor | None
    teacher_BRD: Tensor | None
    anchor_BRD: Tensor | None


class ThinkVLA(nn.Module):
    """A policy over any ``Backbone``.

    Args:
        backbone: an ``nn.Module`` with the ``Backbone`` protocol.
        config: the method's switches.
        anchor_ids: token ids of the reasoning anchor, R of them (empty without it).
        query_ids: token ids of the action queries, C of them.
    """

    anchor_ids: Tensor
    query_ids: Tensor

    def __init__(
        self, backbone: Backbone, config: MethodConfig, anchor_ids: tuple[int, ...], query_ids: tuple[int, ...]
    ) -> None:
        super().__init__()
        if config.vision_block >= backbone.vision_blocks:
            raise ValueError(
                f"method.vision_block is {config.vision_block}, but this backbone has {backbone.vision_blocks} "
                f"vision blocks; choose 0 to {backbone.vision_blocks - 1}"
            )
        if len(anchor_ids) != config.anchors or len(query_ids) != config.chunk:
            raise ValueError(
                f"expected {config.anchors} anchor and {config.chunk} query token ids, "
                f"got {len(anchor_ids)} and {len(query_ids)}"
            )
        self.backbone = backbone
        self.config = config
        self.register_buffer("anchor_ids", torch.tensor(anchor_ids, dtype=torch.long), persistent=False)
        self.register_buffer("query_ids", torch.tensor(query_ids, dtype=torch.long), persistent=False)
        width = backbone.hidden_size
        self.geometry_adapter = Adapter(backbone.vision_size, config.geometry_dim) if config.geometry_adapter else None
        self.reasoning_adapter = Adapter(width, width) if config.reasoning_adapter else None
        self.integration = Integration(width, config)
        self.action_head = ActionHead(width, config.action_dim)
        self.point_embedding = Projection(config.geometry_dim, backbone.vision_size) if config.explicit_points else None
        if self.point_embedding is not None:  # begins at nothing: the pre-trained encoder is not disturbed
            for parameter in self.point_embedding.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, robot: RobotBatch | None = None, questions: QuestionBatch | None = None
    ) -> tuple[RobotOutput | None, Tensor | None]:
        """Outputs of a robot batch, and the scores of every labelled token of a question batch, (N, vocabulary)."""
        answered = self.answer(questions) if questions is not None else None
        return (self.think(robot.tokens, robot.draws_B2) if robot is not None else None), answered

    @torch.inference_mode()
    def act(self, tokens: Tokens) -> Tensor:
        """Deployment: normalized actions (B, C, A) from action prompts. No teacher branch, no text."""
        return self.think(tokens).actions_BCA

    def think(self, tokens: Tokens, draws_B2: Tensor | None = None) -> RobotOutput:
        """Student, and teacher where the prompts hold one; in one packed forward if the backbone's mask allows.

        ``draws_B2`` are :class:`~thinkvla.method.batch.RobotBatch`'s, for the dropout of branches in training.
        """
        teaches = bool((tokens.segments_BL == TEACHER).any())
        if not teaches or self.backbone.blockwise:
            hidden_BLD, patches = self._encode(tokens)
            teacher_BRD = self._teacher(tokens, hidden_BLD) if teaches else None
            return self._integrate(tokens, hidden_BLD, patches, teacher_BRD, draws_B2)
        return self.think_twice(tokens, draws_B2)

    def think_twice(self, tokens: Tokens, draws_B2: Tensor | None = None) -> RobotOutput:
        """The same by two plain forwards: the reference, and the way for attention without a block mask."""
        with torch.no_grad():
            alone = tokens.only(TEACHER)
            teacher_BRD = self._teacher(alone, self._encode(alone)[0])
        student = tokens.only(STUDENT)
        return self._integrate(student, *self._encode(student), teacher_BRD, draws_B2)

    def answer(self, batch: QuestionBatch) -> Tensor:
        """Scores of each labelled token, (N, vocabulary), in the order of ``labelled_tokens(batch)``."""
        batch = batch if self.backbone.blockwise else batch.apart()
        hidden_BLD, _ = self._encode(batch.tokens, patches=False)  # images of questions may differ in size
        return self.backbone.logits(hidden_BLD[:, :-1][batch.labels_BL[:, 1:] != IGNORE])

    def _encode(self, tokens: Tokens, *, patches: bool = True) -> tuple[Tensor, Tensor | None]:
        segments_BL = tokens.segments_BL
        positions = self.backbone.positions(tokens.ids_BL, segments_BL != PAD, tokens.grids_N3)
        block = self.config.vision_block if patches and self.geometry_adapter is not None else None
        positions, points = restart_positions(positions, segments_BL), tokens.points_NhwG
        added = self.point_embedding(points) if self.point_embedding is not None and points is not None else None
        return self.backbone.encode(tokens, positions, block_mask(segments_BL), block, added)

    def _teacher(self, tokens: Tokens, hidden_BLD: Tensor) -> Tensor:
        is_anchor_BL = torch.isin(tokens.ids_BL, self.anchor_ids)
        return teacher_latents(hidden_BLD, tokens.segments_BL, is_anchor_BL, anchored=self.config.reasoning_anchor)

    def _integrate(
        self,
        tokens: Tokens,
        hidden_BLD: Tensor,
        patches: Tensor | None,
        teacher_BRD: Tensor | None,
        draws_B2: Tensor | None,
    ) -> RobotOutput:
        queries_BCD = select(hidden_BLD, torch.isin(tokens.ids_BL, self.query_ids))
        anchor_BRD = None
        if self.config.distils:
            is_anchor_BL = torch.isin(tokens.ids_BL, self.anchor_ids)
            anchored = self.config.reasoning_anchor
            anchor_BRD = student_latents(hidden_BLD, tokens.segments_BL, is_anchor_BL, anchored=anchored)
        return self.integrate(queries_BCD, anchor_BRD, patches, tokens.points_NhwG, teacher_BRD, draws_B2)

    def integrate(
        self,
        queries_BCD: Tensor,
        anchor_BRD: Tensor | None,
        patches: Tensor | None,
        points_NhwG: Tensor | None = None,
        teacher_BRD: Tensor | None = None,
        draws_B2: Tensor | None = None,
    ) -> RobotOutput:
        """From the backbone's hidden states and patch features (views, h, w, E) of a batch to its actions."""
        batch = queries_BCD.shape[0]
        features_BVhwG = geometry_BPG = student_BRD = None
        if self.geometry_adapter is not None:
            assert patches is not None, "the backbone gave no patch features"
            features = self.geometry_adapter(patches)
            features_BVhwG = features.view(batch, -1, *features.shape[1:])
            geometry_BPG = features_BVhwG.flatten(1, 3)
        if self.point_embedding is not None:
            assert points_NhwG is not None, "the prompts bring no points"
            geometry_BPG = points_NhwG.view(batch, -1, self.config.geometry_dim)
        if anchor_BRD is not None:
            student_BRD = anchor_BRD if self.reasoning_adapter is None else self.reasoning_adapter(anchor_BRD)
        actions_BCA = self.action_head(self.integration(queries_BCD, geometry_BPG, student_BRD, draws_B2))
        return RobotOutput(actions_BCA, features_BVhwG, student_BRD, teacher_BRD, anchor_BRD)


def labelled_tokens(batch: QuestionBatch) -> Tensor:
    """The tokens ``ThinkVLA.answer`` scores, (N,)."""
    shifted_BL = batch.labels_BL[:, 1:]
    return shifted_BL[shifted_BL != IGNORE]
