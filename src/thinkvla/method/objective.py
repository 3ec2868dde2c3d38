"""The losses of one co-training step.

    L = L1(Â, A) + 0.5·L_geo + 0.5·L_reasoning + 0.1·L_CE

Each term is kept as a sum and a count until the whole optimizer step is known: micro-batches hold different numbers
of tokens and valid actions, and only sums over sums make gradient accumulation equal one large batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from thinkvla.method.batch import QuestionBatch, RobotBatch
from thinkvla.method.config import MethodConfig
from thinkvla.method.geometry import geometry_distance
from thinkvla.method.policy import RobotOutput, labelled_tokens
from thinkvla.method.reasoning import reasoning_distance

ACTION, GEOMETRY, REASONING, LANGUAGE = "action", "geometry", "reasoning", "language"


@dataclass(frozen=True)
class Term:
    """A loss before its mean is taken: ``total`` over ``count`` things (action values, patches, samples, tokens)."""

    total: Tensor
    count: int


def weights(config: MethodConfig) -> dict[str, float]:
    """Weight of each term in the objective."""
    return {
        ACTION: 1.0,
        GEOMETRY: config.geometry_weight,
        REASONING: config.reasoning_weight,
        LANGUAGE: config.language_weight,
    }


def robot_terms(output: RobotOutput, batch: RobotBatch) -> dict[str, Term]:
    """Action loss (L1 over valid steps), and geometry and reasoning losses where the policy has those parts.

    Raises:
        ValueError: the policy has a geometry adapter but the batch brings no targets for it.
    """
    errors_BCA = (output.actions_BCA - batch.actions_BCA).abs() * batch.valid_BC[..., None]
    terms = {ACTION: Term(errors_BCA.sum(), int(batch.valid_BC.sum()) * errors_BCA.shape[-1])}
    if output.features_BVhwG is not None:
        if batch.geometry_BVhwG is None:
            raise ValueError(
                "the policy has a geometry adapter, but the batch has no geometry targets; give the training data a "
                "feature cache of the geometry teacher, or set method.geometry_adapter to false"
            )
        distance_BVhw = geometry_distance(batch.geometry_BVhwG, output.features_BVhwG)
        terms[GEOMETRY] = Term(distance_BVhw.sum(), distance_BVhw.numel())
    if output.student_BRD is not None and output.teacher_BRD is not None:
        distance_B = reasoning_distance(output.teacher_BRD, output.student_BRD)
        terms[REASONING] = Term(distance_B.sum(), distance_B.numel())
    return terms


def question_terms(scores_NV: Tensor, batch: QuestionBatch) -> dict[str, Term]:
    """Cross-entropy over the assistant spans."""
    labels_N = labelled_tokens(batch)
    return {LANGUAGE: Term(F.cross_entropy(scores_NV.float(), labels_N, reduction="sum"), labels_N.numel())}
