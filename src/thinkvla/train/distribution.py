"""One policy on many processes, as ``torchrun`` or ``accelerate launch`` starts them.

The processes walk one data stream together and divide every loss by what all of them have seen, so a step's gradient
is the one that a single process would compute from the whole batch, however many there are. What a checkpoint holds
does not depend on them either, ZeRO-2's optimizer state excepted.

FSDP2 is torch's ``fully_shard`` on the backbone's own blocks, not accelerate's plugin: that has one precision for all
units, while the action head stays in float32, and does not run on CPU processes, where it is tested.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator, DeepSpeedPlugin, DistributedDataParallelKwargs, DistributedType, PartialState
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from thinkvla.method.batch import QuestionBatch, RobotBatch, Tokens
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import IGNORE, PAD
from thinkvla.train.config import TrainConfig
from thinkvla.train.optimizer import build_optimizer

PATIENCE = timedelta(days=7)
"""How long processes wait for the main one to prepare the run: it may compute a teacher's features of all frames."""

Result = TypeVar("Result")


def start(config: TrainConfig) -> Accelerator:
    """Join the other processes of this launch, if there are any.

    Raises:
        ValueError: ``distribution`` is not what accelerate was told, or needs DeepSpeed, which is not installed.
    """
    told = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
    for variable, name in told.items():
        if os.environ.get(variable, "").lower() == "true" and (name, config.distribution) != ("DeepSpeed", "zero2"):
            _refuse(
                f"accelerate's configuration turns {name} on ({variable}=true), and this run's distribution is "
                f"'{config.distribution}'; leave it out there, and choose with --distribution ddp, fsdp or zero2"
            )
    rounded = _autocasts(config)
    if config.distribution != "zero2":
        idle = config.method.qa_data == "none"  # nothing is answered, so an output head of its own gets no gradient
        return Accelerator(
            mixed_precision="bf16" if rounded else "no",
            cpu=_several() and not torch.accelerator.is_available(),  # else processes without a GPU would not meet
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=idle)],
        )
    if find_spec("deepspeed") is None:
        _refuse(
            "distribution is 'zero2', which needs DeepSpeed, and that is not installed; pip install "
            "'thinkvla[zero]', or choose --distribution fsdp"
        )
    if not _several():
        return Accelerator(mixed_precision="bf16" if rounded else "no")
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": config.batch_size,
        "gradient_accumulation_steps": 1,  # the loop says itself which micro-batch is a step's last
        "gradient_clipping": config.optimizer.clip,
        "zero_optimization": {"stage": 2},
        "zero_allow_untested_optimizer": True,
    }
    if rounded:  # DeepSpeed's "bf16" would round the head's parameters too
        settings["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if not torch.accelerator.is_available():
        PartialState(cpu=True)  # accelerate, asked for DeepSpeed, would let each process without a GPU train alone
    return Accelerator(mixed_precision="no", deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=settings))


def main_first(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """``work`` done by the main process, and by the others once it is through, who find then what it left on the disk.

    If it fails, all processes end and the main one alone says why: the others' exit is silent.
    """
    if accelerator.num_processes == 1:
        return work()
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    failed = [True]
    if not accelerator.is_main_process:
        dist.broadcast_object_list(failed, src=0, group=group)
        if failed[0]:
            raise SystemExit(0)  # no failure of its own: a launcher that saw one might end the main process too early
        return work()
    try:
        result = work()
        failed[0] = False
        return result
    finally:
        dist.broadcast_object_list(failed, src=0, group=group)


def give_up(accelerator: Accelerator, error: Exception) -> NoReturn:
    """End a run for a reason that every process knows: the main one raises it, the others' exit is silent."""
    if accelerator.is_main_process:
        raise error
    raise SystemExit(0)


def leave() -> bool:
    """Part from the other processes at the end of a launch; whether this was the main one."""
    state = PartialState()
    state.destroy_process_group()
    return bool(state.is_main_process)


def is_sharded(config: TrainConfig, accelerator: Accelerator) -> bool:
    """Whether parameters are spread over processes, so that all have to call the same blocks in the same order."""
    return config.distribution == "fsdp" and accelerator.num_processes > 1


def distribute(policy: ThinkVLA, config: TrainConfig, accelerator: Accelerator) -> tuple[Any, Any]:
    """The policy as it is called in training, and its optimizer.

    Parameters are on the accelerator's device afterwards; those of ``policy`` itself are the ones that are trained.
    """
    if is_sharded(config, accelerator):
        _shard(policy, accelerator, config)
        return policy, build_optimizer(policy, config.optimizer)  # built now: sharding makes new parameters
    model, optimizer = accelerator.prepare(policy, build_optimizer(policy, config.optimizer))
    return model, optimizer


def clip(model: Any, accelerator: Accelerator, limit: float) -> float:
    """Scale all gradients together down to a norm of ``limit`` if they exceed it; returns the norm before.

    DeepSpeed has done so itself with its step.
    """
    norm = accelerator.clip_grad_norm_(model.parameters(), limit)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def reshard(model: Any) -> None:
    """Spread parameters again that a forward pass without a backward one has left gathered."""
    if isinstance(model, FSDPModule):
        model.reshard()


def whole_weights(policy: ThinkVLA, accelerator: Accelerator) -> dict[str, Tensor]:
    """The policy's tensors by name, each storage once; empty where this is not the main process.

    Every process has to call it: parameters that are spread over them are gathered, one by one.
    """
    seen: set[int] = set()
    gathered: dict[str, Tensor] = {}
    for name, tensor in policy.state_dict(keep_vars=True).items():
        if id(tensor) in seen:  # an output head tied to the embedding
            continue
        seen.add(id(tensor))
        value = _whole(tensor.detach())
        if accelerator.is_main_process:
            gathered[name] = value.cpu().contiguous()
    return gathered


def whole_optimizer_state(optimizer: Any, model: Any, accelerator: Accelerator, shards: Path) -> dict[str, Any]:
    """The optimizer's state as one process would have it; empty where this is not the main process.

    Every process has to call it. ZeRO-2 writes its state to the folder ``shards`` instead, each process its part, and
    gives an empty one.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        model.save_checkpoint(str(shards.parent), tag=shards.name)
        return {}
    state: dict[str, Any] = optimizer.state_dict()
    gathered: dict[int, dict[str, Any]] = {}
    for number, values in state["state"].items():
        for name, value in values.items():
            whole = _whole(value)
            if accelerator.is_main_process:
                gathered.setdefault(number, {})[name] = whole.cpu()
    return {"state": gathered, "param_groups": state["param_groups"]} if accelerator.is_main_process else {}


def load_optimizer_state(
    optimizer: Any, model: Any, accelerator: Accelerator, state: dict[str, Any], shards: Path
) -> None:
    """Take up a state of :func:`whole_optimizer_state`, from however many processes.

    Raises:
        ValueError: it is ZeRO-2's and this launch is not, or the other way round.
    """
    zero = accelerator.distributed_type == DistributedType.DEEPSPEED
    if zero != (not state):
        kind = "is" if not state else "is not"
        raise ValueError(
            f"{shards.parent}: the optimizer's state there {kind} of distribution 'zero2', which is read by itself and "
            "by as many processes only; resume with the distribution it was written with, or begin a new run with "
            "--start CHECKPOINT"
        )
    if zero:
        model.load_checkpoint(str(shards.parent), tag=shards.name)
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    spread = {
        number: {name: _spread_like(parameters[number], value) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({"state": spread, "param_groups": state["param_groups"]})


def with_picture(questions: QuestionBatch, robot: RobotBatch) -> QuestionBatch:
    """Questions without a picture, joined by one demonstration's prompt that asks for nothing.

    Under FSDP every process has to run the vision encoder's blocks equally often; some process's questions may all be
    text.
    """
    if questions.tokens.pixels is not None:
        return questions
    pixels, grids_N3 = robot.tokens.pixels, robot.tokens.grids_N3
    assert pixels is not None, "demonstrations have views"
    assert grids_N3 is not None, "demonstrations have views"
    views = len(grids_N3) // len(robot.tokens.ids_BL)
    patches = int(grids_N3[:views].prod(dim=1).sum())

    def joined(ours_BL: Tensor, other_BL: Tensor, fill: int) -> Tensor:
        length = max(ours_BL.shape[1], other_BL.shape[1])
        rows = (*ours_BL, other_BL[0])
        return torch.stack([torch.nn.functional.pad(row, (0, length - len(row)), value=fill) for row in rows])

    tokens = Tokens(
        joined(questions.tokens.ids_BL, robot.tokens.ids_BL, 0),
        joined(questions.tokens.segments_BL, robot.tokens.segments_BL, PAD),
        pixels[:patches],
        grids_N3[:views],
    )
    nothing_BL = torch.full_like(robot.tokens.ids_BL[:1], IGNORE)
    return QuestionBatch(tokens, joined(questions.labels_BL, nothing_BL, IGNORE))


def _refuse(message: str) -> NoReturn:
    """Raise a ValueError before the processes know each other: in the first one; the others exit."""
    if int(os.environ.get("RANK", "0")) == 0:
        raise ValueError(message)
    raise SystemExit(0)


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _autocasts(config: TrainConfig) -> bool:
    if config.precision == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return config.precision == "bf16"


def _shard(policy: ThinkVLA, accelerator: Accelerator, config: TrainConfig) -> None:
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    names = {name for module in policy.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    blocks = [module for module in policy.modules() if type(module).__name__ in names]
    if not blocks:
        raise ValueError(
            "distribution is 'fsdp', but this backbone does not name the blocks to shard; choose --distribution ddp"
        )
    # Torch warns that outputs of ours are views: changing them in place would break it, and nothing does.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
    rounded = torch.bfloat16 if _autocasts(config) else None
    precise = MixedPrecisionPolicy(cast_forward_inputs=False)
    usual = MixedPrecisionPolicy(param_dtype=rounded, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=usual)
    fully_shard(policy.action_head, mesh=mesh, mp_policy=precise)
    fully_shard(policy, mesh=mesh, mp_policy=usual)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _spread_like(parameter: Tensor, value: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:  # the count of steps has no shape
        return value.clone()
    here = value.to(parameter.device)
    return distribute_tensor(here, parameter.device_mesh, parameter.placements, src_data_rank=None)
