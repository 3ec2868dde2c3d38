"""The paper's prompt-induced reasoning gap: how alike the anchor is under the reasoning and under the action prompt.

    similarity = cos( H_teacher, H_student )     raw, at the anchor
    adapted    = cos( H_teacher, Rea(H_student) )     what L_reasoning pulls towards one

A cosine near one says little when the anchor is the same whatever it stands for, hence the third number: the anchor
under the reasoning prompt against that under the action prompt of *other* observations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from thinkvla.diagnose.common import DiagnoseOptions, Examined, batches, load, now, origins, progress_over
from thinkvla.diagnose.moments import Moment, moments
from thinkvla.evaluate.diagnosis import Diagnosis
from thinkvla.files import new_folder
from thinkvla.preprocessor import RobotSample
from thinkvla.versions import versions

EXPLANATION = (
    "Cosine between the anchor's hidden state under the reasoning prompt and under the action prompt, of the same "
    "observation; one minus it is the paper's prompt-induced reasoning gap. 'adapted' is the same after the reasoning "
    "adapter. 'of other observations' compares different observations: only what lies above it is about the scene."
)


def diagnose_gap(options: DiagnoseOptions) -> Diagnosis:
    """Similarities of every policy on the same observations, written to ``options.output``.

    Raises:
        ValueError: options do not fit (no checkpoint, an existing output, an unknown suite, fewer than two
            observations or too many), or a policy does not distil.
        ContractError: a policy is for another robot.
    """
    if options.observations < 2:
        raise ValueError(f"observations is {options.observations}; the gap needs at least 2, to compare them")
    examined, created = load(options), now()
    for one in examined:
        if not one.policy.policy.config.distils:
            raise ValueError(
                f"{one.checkpoint}: the policy has no reasoning adapter and no anchor to compare; leave it out"
            )
    seen = moments(options.suite, options.observations)
    found = {one.name: _similarities(one, seen) for one in progress_over(examined, "comparing prompts")}
    with new_folder(options.output) as folder:
        result = Diagnosis(
            kind="gap",
            explanation=EXPLANATION,
            policies={one.name: one.checkpoint for one in examined},
            fingerprints={one.name: one.fingerprint for one in examined},
            numbers={name: _summary(rows) for name, rows in found.items()},
            pictures=(),
            observations=origins(seen, found),
            options=options.plain(),
            versions=versions(),
            created=created,
        )
        result.save(folder)
    return result


def similarities(teacher_NRD: Tensor, student_NRD: Tensor, adapted_NRD: Tensor) -> list[dict[str, float | None]]:
    """Cosines of each of N observations, means over the R anchor tokens; ``of other observations`` over the N − 1."""
    cosines_NNR = F.cosine_similarity(teacher_NRD[:, None], student_NRD[None], dim=-1)
    cosines_NN = cosines_NNR.mean(dim=-1)
    count = len(cosines_NN)
    own_N = cosines_NN.diagonal()
    others_N = (cosines_NN.sum(dim=1) - own_N) / (count - 1)
    adapted_N = F.cosine_similarity(teacher_NRD, adapted_NRD, dim=-1).mean(dim=-1)
    columns = zip(own_N.tolist(), adapted_N.tolist(), others_N.tolist(), strict=True)
    return [{"similarity": s, "adapted": a, "of other observations": o} for s, a, o in columns]


def _similarities(one: Examined, seen: Sequence[Moment]) -> list[dict[str, float | None]]:
    policy, preprocessor = one.policy.policy, one.policy.preprocessor
    actions = np.zeros((one.policy.chunk, one.policy.embodiment.action_dim), np.float32)  # co-training's prompts only
    teachers, students, adapted = [], [], []
    for batch in batches(seen):
        samples = [RobotSample(m.observation, actions, np.ones(len(actions), bool), None) for m in batch]
        tokens = preprocessor.robot_batch(samples).tokens.to(one.policy.device)
        with torch.inference_mode():
            output = policy.think(tokens)
        assert output.teacher_BRD is not None, "co-training prompts hold the teacher's"
        assert output.anchor_BRD is not None, "a policy that distils has an anchor or its stand-in"
        assert output.student_BRD is not None, "and what its adapter makes of it"
        teachers.append(output.teacher_BRD.float().cpu())
        students.append(output.anchor_BRD.float().cpu())
        adapted.append(output.student_BRD.float().cpu())
    return similarities(torch.cat(teachers), torch.cat(students), torch.cat(adapted))


def _summary(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of each quantity, and the similarity's standard deviation over observations."""
    values = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    means = {name: float(found.mean()) for name, found in values.items()}
    return {
        "similarity": means["similarity"],
        "standard deviation": float(values["similarity"].std(ddof=1)),
        "adapted": means["adapted"],
        "of other observations": means["of other observations"],
    }
