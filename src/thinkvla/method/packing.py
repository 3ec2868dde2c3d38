"""Student and teacher in one packed forward: ``prefix | student | teacher`` with a block mask.

The two prompts share their prefix and attention is causal, so each suffix may see the prefix and itself only, with
its positions restarted after the prefix. That equals two forwards, hidden states and gradients alike, at the cost of
the shared prefix (images, mostly) once.

Questions of different lengths are packed likewise, several in a row, each a segment of its own that sees itself only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thinkvla.method.prompts import PAD, PREFIX, QUESTION, STUDENT, TEACHER


def block_mask(segments_BL: Tensor) -> Tensor:
    """Which token may attend to which.

    Args:
        segments_BL: PREFIX, STUDENT, TEACHER, a number from QUESTION on, or PAD for each token; padding on the right.

    Returns:
        bool (B, 1, L, L), True where the row's token sees the column's: causal, same segment or prefix. Padding sees
        itself only, so that no row is empty (a softmax over nothing is NaN).
    """
    length = segments_BL.shape[1]
    query_BL1, key_B1L = segments_BL[:, :, None], segments_BL[:, None, :]
    causal_LL = torch.ones(length, length, dtype=torch.bool, device=segments_BL.device).tril()
    related_BLL = (key_B1L == PREFIX) | (key_B1L == query_BL1)
    real_BLL = (key_B1L != PAD) & (query_BL1 != PAD)
    itself_LL = torch.eye(length, dtype=torch.bool, device=segments_BL.device)
    return ((causal_LL & related_BLL & real_BLL) | itself_LL)[:, None]


def restart_positions(positions_3BL: Tensor, segments_BL: Tensor) -> Tensor:
    """Let the teacher's positions start where the student's do, right after the prefix, and each question's at 0.

    Args:
        positions_3BL: rotary positions (time, height, width) of the sequence read from left to right.
        segments_BL: PREFIX, STUDENT, TEACHER, a number from QUESTION on, or PAD for each token.

    Returns:
        (3, B, L) positions, the teacher's moved back by the number of student tokens, a question's by its first one.
    """
    student_B1 = (segments_BL == STUDENT).sum(dim=1, keepdim=True)
    back_BL = torch.where(segments_BL == TEACHER, student_B1, 0)
    asked_BL = segments_BL >= QUESTION
    begins_BL = asked_BL & (segments_BL != torch.nn.functional.pad(segments_BL[:, :-1], (1, 0), value=PAD))
    # A question begins with text, whose three positions are one number, and later questions begin at larger ones.
    start_BL = torch.where(begins_BL, positions_3BL[0], 0).cummax(dim=1).values
    return positions_3BL - torch.where(asked_BL, start_BL, back_BL)[None]


def select(hidden_BLD: Tensor, chosen_BL: Tensor) -> Tensor:
    """Hidden states of the chosen tokens, in order: (B, N, D). Every sample must choose the same number N."""
    batch, _, width = hidden_BLD.shape
    return hidden_BLD[chosen_BL].view(batch, -1, width)


def last_token(segments_BL: Tensor, segment: int) -> Tensor:
    """Bool (B, L), True at each sample's last token of the given segment."""
    inside_BL = segments_BL == segment
    places_L = torch.arange(segments_BL.shape[1], device=segments_BL.device)
    last_B1 = torch.where(inside_BL, places_L, -1).amax(dim=1, keepdim=True)
    return places_L[None] == last_B1
