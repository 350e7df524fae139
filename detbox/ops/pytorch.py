"""The definition as a backend: what runs where nothing faster can."""

from __future__ import annotations

import torch
from torch import Tensor

from detbox.ops import reference
from detbox.ops.kernel import Gradients, Inputs


def missing() -> str | None:
    """None: it runs wherever torch does."""
    return None


def forward(inputs: Inputs) -> Tensor:
    """(B, Q, heads * D), of the type of value."""
    value, shapes, references, offsets, logits = inputs
    if references is None:
        return reference.ms_deform_attn(value, shapes, offsets, logits).contiguous()
    return reference.ms_deform_attn_fused(value, shapes, references, offsets, logits).contiguous()


def backward(grad_output: Tensor, inputs: Inputs, references_grad: bool) -> Gradients:
    """Gradients, from the forward pass run again."""
    value, offsets, logits = map(_leaf, (inputs.value, inputs.offsets, inputs.logits))
    wanted, references = [value, offsets, logits], inputs.references
    if references is not None and references_grad:
        wanted.append(references := _leaf(references))
    again = Inputs(value, inputs.shapes, references, offsets, logits)
    with torch.enable_grad():
        gradients = torch.autograd.grad(forward(again), wanted, grad_output)
    grad_value, grad_offsets, grad_logits, *others = (each.contiguous() for each in gradients)
    grad_references = others[0][:, :, None] if others else None
    return Gradients(grad_value, grad_references, grad_offsets, grad_logits)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()
