"""What is trained beside frozen weights, and the ordinary weights they come to.

Low-rank factors stand beside a frozen matrix, and rows of the method's new tokens beside a frozen token table. A policy
is saved with both merged in, so that it acts without them; training saves them beside it to go on exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RowEmbedding(nn.Module):
    """A frozen embedding but for some rows that are trained.

    Args:
        frozen: the embedding.
        rows: values of the trained rows, (N, D).
        first: index of the first of them.
    """

    def __init__(self, frozen: nn.Embedding, rows: nn.Parameter, first: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.rows = rows
        self.first = first

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (...) → embeddings (..., D)."""
        place = ids - self.first
        trained = (place >= 0) & (place < len(self.rows))
        rows = F.embedding(place.clamp(0, len(self.rows) - 1), self.rows)
        return torch.where(trained[..., None], rows, self.frozen(ids))


class RowHead(nn.Module):
    """A frozen output head but for some rows that are trained; arguments as for ``RowEmbedding``."""

    def __init__(self, frozen: nn.Linear, rows: nn.Parameter, first: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.rows = rows
        self.first = first

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) → scores (..., vocabulary)."""
        scores, own = self.frozen(hidden), F.linear(hidden, self.rows)
        return torch.cat([scores[..., : self.first], own, scores[..., self.first + len(self.rows) :]], dim=-1)


def train_rows(model: Any, first: int, count: int) -> None:
    """Let ``count`` rows of the token tables, from ``first`` on, be trained where their table is frozen; in place.

    Args:
        model: transformers' Qwen-VL.
        first: index of the first row.
        count: of rows.
    """
    language, head = model.model.language_model, model.lm_head
    embedding: nn.Embedding = language.embed_tokens
    tied = head.weight is embedding.weight
    rows = None
    if not embedding.weight.requires_grad:
        rows = _rows(embedding.weight, first, count)
        language.embed_tokens = RowEmbedding(embedding, rows, first)
    if not head.weight.requires_grad:
        model.lm_head = RowHead(head, rows if tied and rows is not None else _rows(head.weight, first, count), first)


def adapter_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict that stand beside frozen weights; none for an ordinary model."""
    return {name: tensor for name, tensor in state.items() if _is_adapter(name)}


def merged(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A module's state dict as it would be without adapters, with their effect in the weights.

    Args:
        module: it, or any module around it.
        state: its state dict; an output head tied to the embedding may be left out.

    Returns:
        ordinary names and tensors; those without adapters are the same objects.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        owner, _, leaf = name.rpartition(".")
        whole, _, part = owner.rpartition(".")
        if part == "base_layer":
            layer: Any = module.get_submodule(whole)
            result[f"{whole}.{leaf}"] = tensor if leaf == "bias" else _with_factors(layer, whole, tensor, state)
        elif part == "frozen":
            first, rows = int(module.get_submodule(whole).first), state[f"{whole}.rows"]  # type: ignore[arg-type]
            result[f"{whole}.{leaf}"] = torch.cat([tensor[:first], rows, tensor[first + len(rows) :]])
        elif not _is_adapter(name):
            result[name] = tensor
    return result


def _with_factors(layer: Any, name: str, weight: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """W + scaling · B A."""
    down, up = state[f"{name}.lora_A.default.weight"], state[f"{name}.lora_B.default.weight"]
    scale: float = layer.scaling["default"]
    return weight + scale * (up @ down)


def _is_adapter(name: str) -> bool:
    return ".lora_" in name or name.endswith(".rows")


def _rows(table: Tensor, first: int, count: int) -> nn.Parameter:
    return nn.Parameter(table.detach()[first : first + count].clone())
