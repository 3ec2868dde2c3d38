"""(2) Online 3D reasoning distillation: the anchor carries reasoning from an explicit prompt to the action prompt.

    H_teacher = stop_gradient( f(I, L_task, L_teacher, τ_R) )     last hidden state at τ_R
    H_student =                f(I, L_task, τ_R, L_action, τ_A)   last hidden state at τ_R
    L_reasoning = 1 − mean cos( H_teacher, Rea(H_student) )

Teacher and student share all weights and no text is generated.
"""

from __future__ import annotations

from torch import Tensor

from thinkvla.method.geometry import cosine_distance
from thinkvla.method.packing import last_token, select
from thinkvla.method.prompts import PREFIX, STUDENT, TEACHER


def student_latents(hidden_BLD: Tensor, segments_BL: Tensor, is_anchor_BL: Tensor, *, anchored: bool) -> Tensor:
    """H_student: (B, R, D) at the anchor of the action prompt, or (B, 1, D) at the last task token without one."""
    chosen = is_anchor_BL & (segments_BL == STUDENT) if anchored else last_token(segments_BL, PREFIX)
    return select(hidden_BLD, chosen)


def teacher_latents(hidden_BLD: Tensor, segments_BL: Tensor, is_anchor_BL: Tensor, *, anchored: bool) -> Tensor:
    """H_teacher without gradient: (B, R, D) at the anchor of the reasoning prompt.

    Without an anchor: (B, 1, D) at the reasoning prompt's last token, the one an answer would be generated from.
    The last task token itself would not do: it cannot see the reasoning prompt, so both prompts give it one state.
    """
    chosen = is_anchor_BL & (segments_BL == TEACHER) if anchored else last_token(segments_BL, TEACHER)
    return select(hidden_BLD, chosen).detach()


def reasoning_distance(teacher_BRD: Tensor, adapted_BRD: Tensor) -> Tensor:
    """1 − cos(H_teacher, Rea(H_student)) per sample, mean over the R anchor tokens: (B,)."""
    return cosine_distance(teacher_BRD, adapted_BRD).mean(dim=1)


def anchor_similarity(teacher_BRD: Tensor, anchor_BRD: Tensor) -> Tensor:
    """How alike the anchor is under both prompts: cos(H_teacher, H_student), token mean; (B,), no gradient."""
    return 1 - reasoning_distance(teacher_BRD, anchor_BRD.detach())
