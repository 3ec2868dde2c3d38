"""How exactly float32 matrix products are computed, for as long as a run lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def matrix_products(*, rounded: bool) -> Iterator[None]:
    """Round the factors of float32 matrix products to bf16 (TF32 on a GPU), or do not; the old state comes back after.

    Fast where the processor has such units; attention must be ``eager`` then, since on a CPU the fused kernels of sdpa
    get far slower.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if rounded else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
