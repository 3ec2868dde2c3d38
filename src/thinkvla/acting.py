"""A policy's network for acting: prompts prepared once, fixed shapes, and on a GPU one launch for the whole pass.

Three speeds with one code path. ``eager`` gives the numbers of ``ThinkVLA.act`` (on a CPU in float32 bit for bit).
``graph`` records the same kernels as a CUDA graph for each shape and replays it, over buffers that are allocated once.
``compile`` lets torch.compile write new kernels first, whose sums are ordered differently: in float32 within
``TOLERANCE`` of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from thinkvla.backbones.fixed import TextPlan, VisionPlan, encode_fixed, plan_text, plan_vision
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.contract import Image
from thinkvla.method.batch import LENGTH_STEP, pad_prompts
from thinkvla.method.packing import select
from thinkvla.method.policy import ThinkVLA
from thinkvla.method.prompts import Prompt
from thinkvla.method.reasoning import student_latents
from thinkvla.patches import Patches
from thinkvla.preprocessor import Preprocessor

Speed = Literal["eager", "graph", "compile"]
TOLERANCE = 1e-4
"""Largest difference of a normalized action between speeds, float32; actions fill [−1, 1]."""
KEPT_INSTRUCTIONS, KEPT_BATCHES, KEPT_SHAPES = 256, 32, 16  # of each kind, the last ones used


@dataclass(frozen=True)
class Plan:
    """What B instructions come to: everything the network is given but pixels.

    Attributes:
        vision: for the vision encoder; the same for all B instructions.
        text: for the language model.
        queries_BC: where action queries stand in the flattened prompts.
        anchors_BR: where the student's latents stand; R is 0 without distillation.
    """

    vision: VisionPlan
    text: TextPlan
    queries_BC: Tensor
    anchors_BR: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """All that differs between instructions of one shape; not the mask."""
        return (self.text.ids_BL, self.text.places_N, *self.text.rotary, self.queries_BC, self.anchors_BR)

    def copied(self) -> Plan:
        """The same, with these tensors in memory of its own."""
        ids_BL, places_N, cosines, sines, queries_BC, anchors_BR = (tensor.clone() for tensor in self.tensors())
        text = TextPlan(ids_BL, places_N, (cosines, sines), self.text.mask)
        return Plan(self.vision, text, queries_BC, anchors_BR)


Run = Callable[[Tensor, Plan], Tensor]


class FixedPolicy:
    """A policy in evaluation mode that acts on views of one size.

    Its weights must stay as they are once it has acted: what depends on them alone is kept.

    Args:
        policy: the policy, on its device.
        preprocessor: of the policy, for one embodiment.
        speed: how the pass is run.

    Raises:
        ValueError: ``speed`` is ``graph`` without a GPU, or not ``eager`` with attention that needs a mask or a policy
            that is given 3D points.
    """

    def __init__(self, policy: ThinkVLA, preprocessor: Preprocessor, speed: Speed = "eager") -> None:
        assert isinstance(policy.backbone, QwenVL)
        self.policy = policy
        self.backbone: QwenVL = policy.backbone
        self.preprocessor = preprocessor
        self.device = policy.query_ids.device
        self.step = 1 if speed == "eager" else LENGTH_STEP  # fewer lengths of prompts, fewer shapes to keep
        self.patches = Patches(preprocessor.image_processor, *preprocessor.view_size, self.device)
        self.views = len(preprocessor.embodiment.cameras)
        self.prompt = lru_cache(KEPT_INSTRUCTIONS)(self._prompt)
        self.plan = lru_cache(KEPT_BATCHES)(self._plan)
        self._vision = lru_cache(KEPT_SHAPES)(self._plan_vision)
        _check_speed(speed, self.device, self.backbone.attention)
        if speed != "eager" and policy.config.explicit_points:
            raise ValueError(f"speed is {speed}, and method.explicit_points has points that only eager takes")
        run: Run = torch.compile(self._run, fullgraph=True, dynamic=False) if speed == "compile" else self._run
        on_gpu = self.device.type == "cuda"
        self.run: Run = Recorded(run, record_cuda_graph) if on_gpu and speed != "eager" else run

    @torch.inference_mode()
    def __call__(self, images_NHW3: Image, instructions: Sequence[str], points_NhwG: Tensor | None = None) -> Tensor:
        """Normalized actions (B, C, A), float32, on the policy's device.

        Args:
            images_NHW3: uint8 (B · V, H, W, 3), as ``Preprocessor.views`` gives them.
            instructions: B of them.
            points_NhwG: codes of the patches' 3D points, for a policy that is given them.
        """
        images, plan = torch.from_numpy(images_NHW3).to(self.device), self.plan(tuple(instructions))
        return self.run(images, plan) if points_NhwG is None else self._run(images, plan, points_NhwG.to(self.device))

    def _run(self, images_NHW3: Tensor, plan: Plan, points_NhwG: Tensor | None = None) -> Tensor:
        block = self.policy.config.vision_block if self.policy.geometry_adapter is not None else None
        pixels_NK = self.patches(images_NHW3)
        embedding = self.policy.point_embedding
        added_NhwE = embedding(points_NhwG) if embedding is not None and points_NhwG is not None else None
        hidden_BLD, patches = encode_fixed(self.backbone, plan.text, plan.vision, pixels_NK, block, added_NhwE)
        hidden_ND = hidden_BLD.flatten(0, 1)
        anchor_BRD = hidden_ND[plan.anchors_BR].float() if self.policy.config.distils else None
        patches = patches if patches is None else patches.float()
        return self.policy.integrate(hidden_ND[plan.queries_BC].float(), anchor_BRD, patches, points_NhwG).actions_BCA

    def _prompt(self, instruction: str) -> Prompt:
        return self.preprocessor.prompts.action(instruction, [self.patches.tokens] * self.views)

    def _plan(self, instructions: tuple[str, ...]) -> Plan:
        grids_N3 = torch.tensor([[1, *self.patches.grid]] * (self.views * len(instructions)))
        prompts = [self.prompt(instruction) for instruction in instructions]
        tokens = pad_prompts(prompts, None, grids_N3, self.step).to(self.device)
        index_BL1 = torch.arange(tokens.ids_BL.numel(), device=self.device).view(*tokens.ids_BL.shape, 1)
        anchors_BR = index_BL1.new_zeros(len(prompts), 0)
        if self.policy.config.distils:
            is_anchor_BL = torch.isin(tokens.ids_BL, self.policy.anchor_ids)
            anchored = self.policy.config.reasoning_anchor
            anchors_BR = student_latents(index_BL1, tokens.segments_BL, is_anchor_BL, anchored=anchored)[..., 0]
        queries_BC = select(index_BL1, torch.isin(tokens.ids_BL, self.policy.query_ids))[..., 0]
        return Plan(self._vision(len(grids_N3)), plan_text(self.backbone, tokens), queries_BC, anchors_BR)

    def _plan_vision(self, views: int) -> VisionPlan:
        return plan_vision(self.backbone, views, *self.patches.grid)


def _check_speed(speed: Speed, device: torch.device, attention: str) -> None:
    """Raise ValueError where a speed is not to be had."""
    if speed == "graph" and device.type != "cuda":
        raise ValueError(f"speed is graph, which records CUDA graphs, but the policy is on '{device}'; choose eager")
    if speed != "eager" and attention not in ("sdpa", "flash_attention_2"):
        raise ValueError(f"speed is {speed}, but attention is {attention}, which needs a mask; choose sdpa or eager")


class Recorded:
    """A pass that is recorded once for each shape, over buffers of its own, and then replayed.

    Args:
        run: the pass.
        record: records a pass without arguments: a function that repeats it, and the tensor it then writes.
    """

    def __init__(self, run: Run, record: Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]) -> None:
        self.run = run
        self.record = record
        self.kept: dict[tuple[torch.Size, torch.Size], _Replay] = {}

    def __call__(self, images_NHW3: Tensor, plan: Plan) -> Tensor:
        """What the pass gives; its own memory, so that the next call does not change it."""
        shape = (images_NHW3.shape, plan.text.ids_BL.shape)
        replay = self.kept.pop(shape, None) or _Replay(self, images_NHW3, plan)
        if len(self.kept) == KEPT_SHAPES:
            self.kept.pop(next(iter(self.kept)))
        self.kept[shape] = replay  # the last one used stands last
        return replay(images_NHW3, plan)


class _Replay:
    """One shape's buffers and its recorded pass over them."""

    def __init__(self, owner: Recorded, images_NHW3: Tensor, plan: Plan) -> None:
        self.images_NHW3, self.plan, self.given = images_NHW3.clone(), plan.copied(), plan
        self.repeat, self.actions_BCA = owner.record(lambda: owner.run(self.images_NHW3, self.plan))

    def __call__(self, images_NHW3: Tensor, plan: Plan) -> Tensor:
        self.images_NHW3.copy_(images_NHW3)
        if plan is not self.given:
            for buffer, value in zip(self.plan.tensors(), plan.tensors(), strict=True):
                buffer.copy_(value)
            self.given = plan
        self.repeat()
        return self.actions_BCA.clone()


def record_cuda_graph(run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record a pass as a CUDA graph, after passes on a stream of their own, as torch's documentation asks for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # libraries choose kernels and allocate work space; torch.compile compiles
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        written = run()
    return graph.replay, written
