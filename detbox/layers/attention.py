"""Dense multi-head attention, by the fused kernels of PyTorch where they exist."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.errors import SettingError


class Attention(nn.Module):
    """Multi-head attention with its projections (Vaswani et al., sec. 3.2.2).

    Args:
        hidden_dim: C, divisible by `num_heads`.
        num_heads: attention heads.
        dropout: of the attention weights.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(hidden_dim, num_heads)
        self.num_heads, self.dropout = num_heads, dropout
        # One matrix for query, key and value: the official files store them so.
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden_dim, hidden_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_dim))
        self.out_proj = nn.Linear(hidden_dim, hidden_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        padding: Tensor | None = None,
        blocked: Tensor | None = None,
    ) -> Tensor:
        """Attend from each query to the keys.

        Args:
            query: (B, Q, C), position included.
            key: (B, S, C), position included.
            value: (B, S, C).
            padding: (B, S), True on keys that no query may attend to.
            blocked: (Q, S), True where a query may not attend to a key.

        Returns:
            (B, Q, C).
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = map(F.linear, (query, key, value), weights, biases)
        dropout = self.dropout if self.training else 0.0
        attended = attend(query, key, value, self.num_heads, padding, blocked, dropout)
        output: Tensor = self.out_proj(attended)
        return output


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    padding: Tensor | None = None,
    blocked: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Scaled dot-product attention of projected tokens whose channels go head by head.

    Args:
        query: (B, Q, heads * D).
        key: (B, S, heads * D).
        value: (B, S, heads * E).
        num_heads: how many equal parts the channels have.
        padding: (B, S), True on keys that no query may attend to.
        blocked: (Q, S), True where a query may not attend to a key.
        dropout: share of the attention weights that are dropped.

    Returns:
        (B, Q, heads * E).
    """
    query, key, value = (
        torch.unflatten(each, -1, (num_heads, -1)).transpose(1, 2) for each in (query, key, value)
    )
    output = F.scaled_dot_product_attention(
        query, key, value, attn_mask=_allowed(padding, blocked), dropout_p=dropout
    )
    return output.transpose(1, 2).flatten(2)


def joined_heads(first: Tensor, second: Tensor, num_heads: int) -> Tensor:
    """Put each head's channels of two tensors side by side: (B, S, C) twice -> (B, S, 2C)."""
    parts = [torch.unflatten(each, -1, (num_heads, -1)) for each in (first, second)]
    return torch.cat(parts, -1).flatten(-2)


def check_heads(hidden_dim: int, num_heads: int) -> None:
    """Refuse heads that do not share the channels out evenly.

    Raises:
        ValueError: `num_heads` does not divide `hidden_dim`.
    """
    if hidden_dim % num_heads:
        fitting = [heads for heads in range(1, num_heads) if hidden_dim % heads == 0]
        raise SettingError(
            f"model.num_heads must divide neck.hidden_dim, got {num_heads} and {hidden_dim}; "
            f"try model.num_heads={fitting[-1]}"
        )


def _allowed(padding: Tensor | None, blocked: Tensor | None) -> Tensor | None:
    """True where attention is allowed, broadcastable to (B, heads, Q, S); None: everywhere."""
    if padding is None:
        return None if blocked is None else ~blocked
    allowed = ~padding[:, None, None]  # (B, 1, 1, S)
    return allowed if blocked is None else allowed & ~blocked
