"""L1 regression head: OpenVLA-OFT's residual MLP, applied to each action query as starVLA does.

LayerNorm(D) → Linear(D, 2D) → ReLU → 2 × [x + ReLU(Linear(LayerNorm(x)))] → LayerNorm → Linear(2D, A)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + ReLU(Linear(LayerNorm(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) → (..., width)."""
        return x + torch.relu(self.linear(self.norm(x)))


class ActionHead(nn.Module):
    """One action per query, in float32 whatever precision the backbone runs in."""

    def __init__(self, hidden_size: int, action_dim: int) -> None:
        super().__init__()
        width = 2 * hidden_size
        self.layers = nn.Sequential(
            nn.LayerNorm(hidden_size),
            nn.Linear(hidden_size, width),
            nn.ReLU(),
            ResidualBlock(width),
            ResidualBlock(width),
            nn.LayerNorm(width),
            nn.Linear(width, action_dim),
        )

    def forward(self, queries_BCD: Tensor) -> Tensor:
        """(B, C, D) → normalized actions (B, C, A)."""
        with torch.autocast(queries_BCD.device.type, enabled=False):
            actions: Tensor = self.layers(queries_BCD.float())
        return actions
