"""Class and box heads, and how decoder layers share them."""

from __future__ import annotations

import math

from torch import Tensor, nn

from detbox.layers.mlp import MLP


class SharedHeads(nn.Module):
    """One class head and one box head for all decoder layers (DINO)."""

    def __init__(self, hidden_dim: int, num_classes: int) -> None:
        super().__init__()
        self.class_head = class_head(hidden_dim, num_classes)
        self.box_head = box_head(hidden_dim)

    def classify(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, Q, C) -> class logits (B, Q, K) of a layer."""
        return self.class_head(hidden)

    def locate(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, Q, C) -> box offsets (B, Q, 4) of a layer, logits."""
        return self.box_head(hidden)


def class_head(hidden_dim: int, num_classes: int, prior: float = 0.01) -> nn.Linear:
    """A linear head whose sigmoid starts at `prior` (focal loss, sec. 4.1)."""
    head = nn.Linear(hidden_dim, num_classes)
    nn.init.constant_(head.bias, -math.log((1 - prior) / prior))
    return head


def box_head(hidden_dim: int) -> MLP:
    """A three-layer head that starts at zero offset."""
    head = MLP(hidden_dim, hidden_dim, 4, num_layers=3)
    nn.init.zeros_(head.linears[-1].weight)
    nn.init.zeros_(head.linears[-1].bias)
    return head
