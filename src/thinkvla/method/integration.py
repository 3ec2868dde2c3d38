"""(3) Spatially augmented action integration: both latents join the action queries.

    Â = Head( H_A + P_geo(pool(F_geo)) + P_rea(Rea(H_student)) )

In training each branch is dropped per sample with probability p, so that neither is leaned on alone; never at
inference. The random numbers come with the batch: which samples lose a branch does not depend on how they are cut into
batches. ``gate`` and ``cross_attention`` are the paper's alternatives to the sum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinkvla.method.config import MethodConfig


class Projection(nn.Module):
    """Light MLP into the action latent space (P_geo, P_rea)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.Linear(outputs, outputs))

    def forward(self, latents: Tensor) -> Tensor:
        """(..., inputs) → (..., outputs)."""
        projected: Tensor = self.layers(latents)
        return projected


class Attend(nn.Module):
    """Action queries read from a set of latents: single-head attention with its own query and key maps."""

    def __init__(self, hidden_size: int, inputs: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(inputs, hidden_size)

    def forward(self, queries_BCD: Tensor, latents_BNK: Tensor) -> Tensor:
        """(B, C, D) and (B, N, K) → (B, C, K), a weighted mean of the latents for each query."""
        return self.weights(queries_BCD, latents_BNK) @ latents_BNK

    def weights(self, queries_BCD: Tensor, latents_BNK: Tensor) -> Tensor:
        """How much each query reads of each latent: (B, C, N), every row sums to one."""
        scores_BCN = self.query(queries_BCD) @ self.key(latents_BNK).transpose(1, 2)
        return torch.softmax(scores_BCN / queries_BCD.shape[-1] ** 0.5, dim=-1)


class Branch(nn.Module):
    """One latent source on its way to the action queries: pooled, projected, then joined by the chosen fusion."""

    def __init__(self, hidden_size: int, inputs: int, config: MethodConfig, *, pooled: bool) -> None:
        super().__init__()
        attends = config.fusion == "cross_attention" or (pooled and config.pooling == "attention")
        self.attend = Attend(hidden_size, inputs) if attends else None
        self.project = Projection(inputs, hidden_size)
        self.gate = nn.Linear(2 * hidden_size, hidden_size) if config.fusion == "gate" else None
        self.dropout = config.branch_dropout

    def forward(self, queries_BCD: Tensor, latents_BNK: Tensor, draws_B: Tensor | None = None) -> Tensor:
        """What this branch adds to the queries: (B, C, D); nothing where ``draws_B`` is below the dropout."""
        mean = latents_BNK.mean(dim=1, keepdim=True)
        pooled = mean if self.attend is None else self.attend(queries_BCD, latents_BNK)
        addition: Tensor = self.project(pooled).expand_as(queries_BCD)
        if self.gate is not None:
            addition = torch.sigmoid(self.gate(torch.cat([queries_BCD, addition], dim=-1))) * addition
        if draws_B is not None:
            addition = addition * (draws_B >= self.dropout)[:, None, None]
        return addition


class Integration(nn.Module):
    """Adds the geometry and the reasoning branch to the action queries, those that the configuration has.

    Args:
        hidden_size: D of the language model.
        config: the method; ``geometry_adapter``, ``explicit_points`` and ``distils`` decide which branches exist.
    """

    def __init__(self, hidden_size: int, config: MethodConfig) -> None:
        super().__init__()
        sees_geometry = config.geometry_adapter or config.explicit_points
        self.geometry = Branch(hidden_size, config.geometry_dim, config, pooled=True) if sees_geometry else None
        self.reasoning = Branch(hidden_size, hidden_size, config, pooled=False) if config.distils else None

    def forward(
        self,
        queries_BCD: Tensor,
        geometry_BPG: Tensor | None,
        reasoning_BRD: Tensor | None,
        draws_B2: Tensor | None = None,
    ) -> Tensor:
        """Action queries with spatial latents: (B, C, D). A latent is None where its branch does not exist.

        ``draws_B2`` are uniform random numbers for the dropout of the geometry and the reasoning branch; None drops
        nothing.
        """
        draws_B, more_B = (None, None) if draws_B2 is None else draws_B2.unbind(1)
        joined = queries_BCD
        if self.geometry is not None and geometry_BPG is not None:
            joined = joined + self.geometry(queries_BCD, geometry_BPG, draws_B)
        if self.reasoning is not None and reasoning_BRD is not None:
            joined = joined + self.reasoning(queries_BCD, reasoning_BRD, more_B)
        return joined
