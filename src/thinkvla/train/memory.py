"""What a training run will hold in memory, before it starts.

Parameters, gradients and optimizer state follow from the parameter counts. Activations are measured, not guessed: the
real forward pass runs at the backbone's true width with one and two language layers and vision blocks, and two and
three samples, and what it leaves in memory for the backward pass is counted; that is linear in each of these. Weights
are never filled for that, so even a backbone that does not fit here can be planned.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from thinkvla.method.batch import QuestionBatch, RobotBatch
from thinkvla.method.objective import question_sums, robot_sums
from thinkvla.method.policy import ThinkVLA

FLOAT32 = 4
BFLOAT16 = 2
ADAM_MOMENTS = 2


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters.

    Attributes:
        backbone: of the vision-language model, new tokens included.
        method: added by the method and the action head.
        trained: of both, those the optimizer changes.
    """

    backbone: int
    method: int
    trained: int

    @property
    def frozen(self) -> int:
        """Parameters that stay as they are."""
        return self.backbone + self.method - self.trained


@dataclass(frozen=True)
class Memory:
    """Bytes that one process holds at the end of a forward pass, where training holds most.

    Attributes:
        parameters: float32 weights.
        gradients: of the trained ones.
        optimizer: AdamW's two moments.
        activations: what autograd keeps for the backward pass.
        teacher: weights of a geometry teacher that runs inside the step.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    teacher: int = 0

    @property
    def total(self) -> int:
        """All of it, bytes."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.teacher


@dataclass(frozen=True)
class Size:
    """How much of a model and of a batch: language layers, vision blocks, demonstrations, questions."""

    layers: int
    blocks: int
    samples: int
    questions: int


def count_parameters(policy: ThinkVLA) -> Parameters:
    """Parameters of a policy on any device, ``meta`` included; each tied one counts once."""
    sizes = {name: parameter.numel() for name, parameter in policy.named_parameters()}
    backbone = sum(size for name, size in sizes.items() if name.startswith("backbone."))
    trained = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
    return Parameters(backbone, sum(sizes.values()) - backbone, trained)


def held_bytes(
    policy: ThinkVLA, robot: RobotBatch | None, questions: QuestionBatch | None, *, bf16: bool = False
) -> int:
    """Bytes held between forward and backward of one micro-batch, besides the batch and what the policy itself holds.

    Args:
        policy: in training mode; the values of its weights do not matter.
        robot: demonstrations, or None.
        questions: questions, or None.
        bf16: under autocast to bfloat16, whose copies of the weights count.
    """
    device = next(policy.parameters()).device.type
    rounding: AbstractContextManager[Any] = torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()
    losses: dict[str, Tensor] = {}
    with _Storages() as storages, rounding:
        output, scores = policy(robot, questions)
        if robot is not None:
            losses |= robot_sums(output, robot)
        if questions is not None:
            losses |= question_sums(scores, questions)
        del output, scores
        held = storages.held()
    before = {
        tensor.untyped_storage().data_ptr() for tensor in (*policy.state_dict().values(), *_tensors(robot, questions))
    }
    return sum(size for address, size in held.items() if address not in before)


class _Storages(TorchDispatchMode):
    """Memory of every tensor that operations return, for as long as something holds it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._storages[tensor.untyped_storage()] = None
        return result

    def held(self) -> dict[int, int]:
        """Address → bytes of what is held now."""
        return {storage.data_ptr(): storage.nbytes() for storage in self._storages}


def _tensors(*batches: RobotBatch | QuestionBatch | None) -> list[Tensor]:
    values = [
        getattr(part, field.name)
        for one in batches
        if one is not None
        for part in (one, one.tokens)
        for field in fields(part)
    ]
    return [value for value in values if isinstance(value, Tensor)]


def extrapolate(measure: Callable[[Size], int], wanted: Size) -> int:
    """What ``measure`` would give at ``wanted``, from small sizes at which it is cheap.

    Exact for a function a + b·layers + c·blocks whose coefficients are linear in the number of samples; demonstrations
    and questions add up, except for what does not depend on their number (copies of the weights), which they share.
    """
    # Two of each, since many a tensor of one sample is but a view of another.
    robot_2 = _depths(measure, wanted, samples=2, questions=0)
    robot_3 = _depths(measure, wanted, samples=3, questions=0)
    result = robot_2 + (wanted.samples - 2) * (robot_3 - robot_2)
    if wanted.questions:
        asked_2 = _depths(measure, wanted, samples=0, questions=2)
        asked_3 = _depths(measure, wanted, samples=0, questions=3)
        result += wanted.questions * (asked_3 - asked_2)
    return result


def _depths(measure: Callable[[Size], int], wanted: Size, samples: int, questions: int) -> int:
    base = measure(Size(1, 1, samples, questions))
    layer = measure(Size(2, 1, samples, questions)) - base
    block = measure(Size(1, 2, samples, questions)) - base
    return base + (wanted.layers - 1) * layer + (wanted.blocks - 1) * block


def expected_memory(parameters: Parameters, activations: int, teacher: int = 0) -> Memory:
    """Memory of one process that holds everything: weights and both moments in float32.

    Args:
        parameters: of the policy.
        activations: bytes kept for the backward pass.
        teacher: bytes of the teacher's weights where it runs online.
    """
    trained = parameters.trained * FLOAT32
    return Memory(
        parameters=(parameters.backbone + parameters.method) * FLOAT32,
        gradients=trained,
        optimizer=ADAM_MOMENTS * trained,
        activations=activations,
        teacher=teacher,
    )
