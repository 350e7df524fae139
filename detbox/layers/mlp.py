"""Small perceptrons."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))

    @property
    def linears(self) -> list[nn.Linear]:
        """The layers, for initialisation."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., input_dim) -> (..., output_dim)."""
        *hidden, last = self.layers
        for layer in hidden:
            tokens = F.relu(layer(tokens))
        return last(tokens)


class FeedForward(nn.Module):
    """Position-wise feed-forward block with residual and post-norm (Vaswani et al., sec. 3.3)."""

    def __init__(self, hidden_dim: int, feedforward_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        hidden = self.dropout(F.relu(self.linear1(tokens)))
        return self.norm(tokens + self.dropout(self.linear2(hidden)))
