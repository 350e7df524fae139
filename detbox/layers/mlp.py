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
        output: Tensor = last(tokens)
        return output


class FeedForward(nn.Module):
    """Position-wise feed-forward block with residual and post-norm (Vaswani et al., sec. 3.3).

    Args:
        hidden_dim: C.
        feedforward_dim: channels between the two linear layers.
        dropout: of the activations and of the update.
        activation: None: ReLU.
    """

    def __init__(
        self,
        hidden_dim: int,
        feedforward_dim: int,
        dropout: float = 0.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation or nn.ReLU()
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        output: Tensor = self.norm(tokens + self.update(tokens))
        return output

    def update(self, tokens: Tensor) -> Tensor:
        """What the block adds to its tokens, (B, S, C)."""
        hidden = self.dropout(self.activation(self.linear1(tokens)))
        update: Tensor = self.dropout(self.linear2(hidden))
        return update


class PreNormFeedForward(FeedForward):
    """The same block with the norm before it instead of after (Xiong et al., ICML 2020)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        return tokens + self.update(self.norm(tokens))


def xavier_matrices(module: nn.Module) -> None:
    """Start every matrix of a module as the official transformers do; vectors stay."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
