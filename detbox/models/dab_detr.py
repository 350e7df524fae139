"""Parts of DAB-DETR (Liu et al., ICLR 2022): queries that are boxes."""

from __future__ import annotations

from torch import Tensor, nn

from detbox.layers.mlp import MLP
from detbox.layers.position import sine_embedding
from detbox.models.deformable_detr import level_boxes
from detbox.structures import Memory


class AnchorPosition(nn.Module):
    """Turn anchor boxes into query positions by a sine code and an MLP (sec. 4.2)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.num_frequencies = hidden_dim // 2
        self.mlp = MLP(2 * hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        for layer in self.mlp.linears:
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, anchors: Tensor, memory: Memory) -> Tensor:
        """(B, Q, 4) logits -> (B, Q, C); boxes count as shares of the padded finest level."""
        boxes = level_boxes(anchors, memory)[:, :, 0]
        return self.mlp(sine_embedding(boxes, self.num_frequencies).to(memory.tokens.dtype))
