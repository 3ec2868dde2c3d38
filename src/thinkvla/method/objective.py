"""The losses of one co-training step.

    L = L1(Â, A) + 0.5·L_geo + 0.5·L_reasoning + 0.1·L_CE

Each term is kept as a sum and a count until the whole optimizer step is known: micro-batches hold different numbers
of tokens and valid actions, and only sums over sums make gradient accumulation equal one large batch.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from thinkvla.method.batch import QuestionBatch, RobotBatch
from thinkvla.method.config import MethodConfig
from thinkvla.method.geometry import geometry_distance
from thinkvla.method.policy import RobotOutput, labelled_tokens
from thinkvla.method.reasoning import reasoning_distance

ACTION, GEOMETRY, REASONING, LANGUAGE = "action", "geometry", "reasoning", "language"


def weights(config: MethodConfig) -> dict[str, float]:
    """Weight of each term in the objective."""
    values = (1.0, config.geometry_weight, config.reasoning_weight, config.language_weight)
    return dict(zip((ACTION, GEOMETRY, REASONING, LANGUAGE), values, strict=True))


def counts(robot: RobotBatch | None, questions: QuestionBatch | None) -> dict[str, int]:
    """What each term's sum is a sum of: valid action values, samples, samples, answer tokens."""
    found: dict[str, int] = {}
    if robot is not None:
        samples, _, action_dim = robot.actions_BCA.shape
        found |= {ACTION: int(robot.valid_BC.sum()) * action_dim, GEOMETRY: samples, REASONING: samples}
    if questions is not None:
        found[LANGUAGE] = labelled_tokens(questions).numel()
    return found


def robot_sums(output: RobotOutput, batch: RobotBatch) -> dict[str, Tensor]:
    """Action loss (L1 over valid steps), and geometry and reasoning losses where the policy has those parts.

    Raises:
        ValueError: the policy has a geometry adapter but the batch brings no targets for it.
    """
    errors_BCA = (output.actions_BCA - batch.actions_BCA).abs() * batch.valid_BC[..., None]
    sums = {ACTION: errors_BCA.sum()}
    if output.features_BVhwG is not None:
        if batch.geometry_BVhwG is None:
            raise ValueError(
                "the policy has a geometry adapter, but the batch has no geometry targets; give the training data a "
                "feature cache of the geometry teacher, or set method.geometry_adapter to false"
            )
        distance_BVhw = geometry_distance(batch.geometry_BVhwG, output.features_BVhwG, batch.windows_BV4)
        sums[GEOMETRY] = distance_BVhw.flatten(1).mean(dim=1).sum()
    if output.student_BRD is not None and output.teacher_BRD is not None:
        sums[REASONING] = reasoning_distance(output.teacher_BRD, output.student_BRD).sum()
    return sums


def question_sums(scores_NV: Tensor, batch: QuestionBatch) -> dict[str, Tensor]:
    """Cross-entropy over the assistant spans."""
    return {LANGUAGE: F.cross_entropy(scores_NV.float(), labelled_tokens(batch), reduction="sum")}
