"""Exported to ONNX, the op is plain grid sampling that any runtime knows."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from detbox.ops import ms_deform_attn_fused
from detbox.ops.examples import example

GIVEN = example(((4, 5), (2, 3), (1, 1)), 7, batch=2, heads=2, width=8, reference_size=4)


class Attention(nn.Module):
    """The op on fixed level sizes."""

    def forward(self, value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        """(B, Q, heads * D)."""
        return ms_deform_attn_fused(value, GIVEN.shapes, references, offsets, logits)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnxruntime_gives_the_numbers_of_torch(tmp_path: Path) -> None:
    tensors = tuple(each for each in GIVEN if isinstance(each, Tensor))
    file = tmp_path / "attention.onnx"
    torch.onnx.export(
        Attention().eval(), tensors, file, dynamo=True, opset_version=18, verbose=False
    )
    nodes = {node.op_type for node in onnx.load(file).graph.node}
    assert "GridSample" in nodes
    session = onnxruntime.InferenceSession(file)
    names = [each.name for each in session.get_inputs()]
    fed = {name: each.numpy() for name, each in zip(names, tensors, strict=True)}
    torch.testing.assert_close(torch.from_numpy(session.run(None, fed)[0]), Attention()(*tensors))
