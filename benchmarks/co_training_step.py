"""One co-training step: what questions, the method, its packed form and its geometry teacher cost.

    OMP_NUM_THREADS=1 python benchmarks/co_training_step.py                          # a CPU core, 26 M parameters
    python benchmarks/co_training_step.py --device cuda --backbone 2b                # a GPU, Qwen3-VL-2B's architecture
    python benchmarks/co_training_step.py --device cuda --backbone 2b --batch 0      # the largest batch that fits

The step that training makes: forward, losses, backward, clipping and AdamW, with demonstrations and as many questions.
Rivals share one backbone and one batch of each kind, random weights and random pictures, and take turns:

    plain          the plain VLA: demonstrations alone (R1)
    with questions the same, co-trained on questions (R3)
    ours           the whole method (R7), packed, geometry targets read from a cache
    two forwards   ours without packing, the teacher's prompt in a forward of its own without a graph
    teacher online ours, with the geometry teacher run on the batch's views in every step

On a GPU in bfloat16 with views of 256 px and a teacher of VGGT-1B's size at 518 px; on a CPU in float32 with views of
96 px and a teacher of 32 M parameters at 112 px. Floating-point operations are counted by torch; the rate they are
compared with is that of a large matrix product in the same precision, measured beside. Memory holds the teacher's
weights only where it is online, and the adapters of the whole method everywhere.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from thinkvla.method.batch import QuestionBatch, RobotBatch
from thinkvla.method.config import MethodConfig
from thinkvla.method.policy import ThinkVLA
from thinkvla.preprocessor import QuestionSample, RobotSample
from thinkvla.teachers.aggregator import Aggregator, AggregatorConfig
from thinkvla.teachers.vggt import PREFIX, VggtTeacher
from thinkvla.train.loop import co_training_step
from thinkvla.train.mixture import MicroBatch

PAPER_BATCH, LARGEST_BATCH = 4, 256
SMALL_TEACHER = AggregatorConfig(image_size=112, width=384, heads=6, depth=3, encoder_depth=12)


class Bench:
    """The five rivals over one backbone.

    Args:
        backbone: a size of ``common.build``.
        device: cpu or cuda.
        teacher: sizes of the geometry teacher, whose weights are random.
    """

    def __init__(self, backbone: str, device: str, teacher: AggregatorConfig) -> None:
        self.device = device
        gpu = device == "cuda"
        view = 256 if gpu else 96
        with tempfile.TemporaryDirectory() as folder:
            weights = Aggregator(teacher).state_dict()
            save_file({PREFIX + name: value for name, value in weights.items()}, Path(folder) / "model.safetensors")
            del weights
            self.teacher = VggtTeacher(Path(folder), (view, view))
        method = MethodConfig(vision_block=17 if backbone == common.PUBLISHED else 2, geometry_dim=self.teacher.dim)
        policy, self.preprocessor = common.build(backbone, method, view, device)
        plain = common.without_method(method)
        self.policies = {
            "plain": (common.over(policy, plain), False),
            "with questions": (common.over(policy, replace(plain, qa_data="3d")), True),
            "ours": (policy, True),
            "two forwards": (policy, True),
            "teacher online": (policy, True),
        }
        distinct = {id(p): p for one, _ in self.policies.values() for p in one.parameters()}
        self.parameters = list(distinct.values())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5)
        self.accelerator = Accelerator(mixed_precision="bf16" if gpu else "no", cpu=not gpu)

    def steps(self, batch: int) -> dict[str, Callable[[], None]]:
        """A call for each rival that makes one step on ``batch`` demonstrations and as many questions."""
        questions, frames = self._questions(batch), self._frames(batch)
        return {
            name: partial(
                self._step, name, MicroBatch(self._robot(policy, frames), questions if asks else None), frames
            )
            for name, (policy, asks) in self.policies.items()
        }

    def _step(self, name: str, micro: MicroBatch, frames: torch.Tensor) -> None:
        policy, _ = self.policies[name]
        backbone: Any = policy.backbone
        backbone.blockwise = name != "two forwards"
        if name == "teacher online":
            features = self.teacher.features(frames.to(self.device))
            micro = replace(micro, robot=replace(micro.robot, geometry_BVhwG=features))
        co_training_step(policy, [micro], self.accelerator, policy.config, 0)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _frames(self, batch: int) -> torch.Tensor:
        seen = common.observations(self.preprocessor, batch)
        cameras = self.preprocessor.embodiment.cameras
        return torch.from_numpy(np.stack([np.stack([one.images[camera] for camera in cameras]) for one in seen]))

    def _robot(self, policy: ThinkVLA, frames: torch.Tensor) -> RobotBatch:
        rng, method, ours = np.random.default_rng(1), policy.config, self.preprocessor
        view = ours.embodiment.image_size[0]
        preprocessor = common.build_preprocessor(method, view, ours.tokenizer, ours.image_processor)
        shape = (frames.shape[1], *self.teacher.grid, self.teacher.dim)
        return preprocessor.robot_batch(
            [
                RobotSample(
                    seen,
                    rng.uniform(-1, 1, (method.chunk, 7)).astype(np.float32),
                    np.ones(method.chunk, bool),
                    rng.normal(size=shape).astype(np.float16) if method.geometry_adapter else None,
                )
                for seen in common.observations(ours, len(frames))
            ]
        )

    def _questions(self, batch: int) -> QuestionBatch:
        seen = common.observations(self.preprocessor, batch)
        return self.preprocessor.question_batch(
            [QuestionSample((one.images["front"],), ((common.QUESTION, common.ANSWER),), True) for one in seen]
        )


def largest_batch(bench: Bench) -> int:
    """The largest power of two at which every rival makes a step without running out of the GPU's memory."""
    batch = PAPER_BATCH
    while batch < LARGEST_BATCH:
        try:
            for call in bench.steps(2 * batch).values():
                call()
        except torch.cuda.OutOfMemoryError:
            break
        batch *= 2
    bench.optimizer.zero_grad()
    torch.cuda.empty_cache()
    return batch


def peak_memory(device: str, call: Callable[[], None]) -> float:
    """Most memory in use during one call, GB: the allocator's on a GPU, the process's on a CPU (Linux)."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() / 1e9
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    call()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None, "no peak in /proc/self/status"
    return int(found[1]) * 1024 / 1e9


def matmul_rate(device: str) -> float:
    """Floating-point operations a second of a large matrix product in the step's precision; the best of ten."""
    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(12):
        started = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", choices=[*common.SIZES, common.PUBLISHED], default="26M")
    parser.add_argument("--batch", type=int, default=PAPER_BATCH, help="0: the largest that fits on the GPU")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    teacher = AggregatorConfig() if options.device == "cuda" else SMALL_TEACHER
    bench = Bench(options.backbone, options.device, teacher)
    batch = options.batch or largest_batch(bench)
    steps = bench.steps(batch)
    seconds = common.alternate(steps, options.rounds)
    memory = {name: peak_memory(options.device, call) for name, call in steps.items()}
    weights = sum(p.numel() * p.element_size() for p in bench.teacher.model.parameters()) / 1e9
    memory = {name: value - (name != "teacher online") * weights for name, value in memory.items()}
    work = {name: common.operations(call) for name, call in steps.items()}
    rate = matmul_rate(options.device)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    common.write(
        f"co_training_step_{options.backbone}_{options.device}_{batch}",
        {
            "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
            "parameters": sum(p.numel() for p in bench.policies["ours"][0].parameters()),
            "teacher_parameters": sum(p.numel() for p in bench.teacher.model.parameters()),
            "batch": batch,
            "rounds": options.rounds,
            "median_seconds": {name: round(value, 4) for name, value in median.items()},
            "samples_per_second": {name: round(batch / value, 2) for name, value in median.items()},
            "peak_memory_gb": {name: round(value, 2) for name, value in memory.items()},
            "tera_operations": {name: round(value / 1e12, 4) for name, value in work.items()},
            "matmul_tera_operations_per_second": round(rate / 1e12, 3),
            "utilization": {name: round(work[name] / median[name] / rate, 3) for name in steps},
            "over_plain": {name: round(common.median_ratio(seconds, name, "plain"), 3) for name in steps},
            "over_with_questions": {
                name: round(common.median_ratio(seconds, name, "with questions"), 3) for name in steps
            },
        },
    )


if __name__ == "__main__":
    main()
