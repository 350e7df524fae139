"""Class and box heads, and how decoder layers share them."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import cast

from torch import Tensor, nn

from detbox.layers.mlp import MLP
from detbox.numerics import in_float32


class SharedHeads(nn.Module):
    """One class head and one box head for all decoder layers (DINO)."""

    def __init__(self, hidden_dim: int, num_classes: int) -> None:
        super().__init__()
        self.class_head = class_head(hidden_dim, num_classes)
        self.box_head = box_head(hidden_dim)

    @property
    def first(self) -> tuple[nn.Linear, MLP]:
        """Class and box head of the first decoder layer."""
        return self.class_head, self.box_head

    def classify(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, Q, C) -> class logits (B, Q, K) of a layer."""
        logits: Tensor = self.class_head(hidden)
        return logits

    def locate(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, Q, C) -> box offsets (B, Q, 4) of a layer, logits."""
        offsets: Tensor = self.box_head(hidden)
        return offsets


class LayerHeads(nn.Module):
    """A class head and a box head per decoder layer, equal at the start (Deformable DETR)."""

    def __init__(self, hidden_dim: int, num_classes: int, num_layers: int) -> None:
        super().__init__()
        classes, boxes = class_head(hidden_dim, num_classes), box_head(hidden_dim)
        self.class_heads = nn.ModuleList(deepcopy(classes) for _ in range(num_layers))
        self.box_heads = nn.ModuleList(deepcopy(boxes) for _ in range(num_layers))

    @property
    def first(self) -> tuple[nn.Linear, MLP]:
        """Class and box head of the first decoder layer."""
        return cast("nn.Linear", self.class_heads[0]), cast("MLP", self.box_heads[0])

    def classify(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, Q, C) -> class logits (B, Q, K) of a layer."""
        logits: Tensor = self.class_heads[layer](hidden)
        return logits

    def locate(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, Q, C) -> box offsets (B, Q, 4) of a layer, logits."""
        offsets: Tensor = self.box_heads[layer](hidden)
        return offsets


class BoxHead(MLP):
    """A perceptron in float32 also under autocast: bf16 rounds by up to 1.6 pixels of 800."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., 4)."""
        return in_float32(super().forward, tokens)


def class_head(hidden_dim: int, num_classes: int, prior: float = 0.01) -> nn.Linear:
    """A linear head whose sigmoid starts at `prior` (focal loss, sec. 4.1)."""
    head = nn.Linear(hidden_dim, num_classes)
    nn.init.constant_(head.bias, -math.log((1 - prior) / prior))
    return head


def box_head(hidden_dim: int) -> BoxHead:
    """A three-layer head that starts at zero offset."""
    head = BoxHead(hidden_dim, hidden_dim, 4, num_layers=3)
    nn.init.zeros_(head.linears[-1].weight)
    nn.init.zeros_(head.linears[-1].bias)
    return head
