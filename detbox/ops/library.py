"""The two operators as torch knows them, so that compile, export, autocast and DDP just work.

Both come down to the one interface of `detbox.ops.kernel`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detbox.ops import reference
from detbox.ops.kernel import Inputs, Kernel
from detbox.ops.selection import KNOWN, choose, module_of

CLASSIC = "Tensor value, int[] shapes, Tensor locations, Tensor weights"
FUSED = "Tensor value, int[] shapes, Tensor references, Tensor offsets, Tensor logits"

torch.library.define("detbox::ms_deform_attn", f"({CLASSIC}, str backend='auto') -> Tensor")
torch.library.define("detbox::ms_deform_attn_fused", f"({FUSED}, str backend='auto') -> Tensor")
torch.library.define(
    "detbox::ms_deform_attn_backward",
    f"(Tensor grad_output, {CLASSIC}, str backend) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "detbox::ms_deform_attn_fused_backward",
    f"(Tensor grad_output, {FUSED}, str backend, bool references_grad)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)

ms_deform_attn = torch.ops.detbox.ms_deform_attn
ms_deform_attn_fused = torch.ops.detbox.ms_deform_attn_fused


def flat(shapes: Sequence[tuple[int, int]]) -> list[int]:
    """(h, w) per level as the operators take it: [h, w, h, w, ...]."""
    return [size for shape in shapes for size in shape]


def pairs(sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The inverse of `flat`."""
    return tuple(zip(sizes[::2], sizes[1::2], strict=True))


def common_type(*tensors: Tensor) -> torch.dtype:
    """The smallest type that holds all of them."""
    dtype = tensors[0].dtype
    for each in tensors[1:]:
        dtype = torch.promote_types(dtype, each.dtype)
    return dtype


def _forward(backend: str, inputs: Inputs) -> Tensor:
    prepared, kernel = _prepared(inputs, backend)
    return kernel.forward(prepared).to(inputs.value.dtype)


def _backward(
    backend: str, grad_output: Tensor, inputs: Inputs, references_grad: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of value, references, offsets and logits, each of its tensor's type."""
    prepared, kernel = _prepared(inputs, backend, backward=True)
    grad_output = grad_output.to(prepared.value.dtype).contiguous()
    gradients = kernel.backward(grad_output, prepared, references_grad)
    references = inputs.offsets.new_empty(0)
    if inputs.references is not None and gradients.references is not None:
        references = gradients.references.sum(2).to(inputs.references.dtype)  # over heads
    return (
        gradients.value.to(inputs.value.dtype),
        references,
        gradients.offsets.to(inputs.offsets.dtype),
        gradients.logits.to(inputs.logits.dtype),
    )


def _prepared(inputs: Inputs, backend: str, backward: bool = False) -> tuple[Inputs, Kernel]:
    value, shapes, references, offsets, logits = inputs
    if references is None:
        reference.check_inputs(value, shapes, offsets, logits)
        dtype = common_type(value, logits)
    else:
        reference.check_fused_inputs(value, shapes, references, offsets, logits)
        dtype = common_type(value, offsets, logits)
    chosen = choose(backend, value.device.type, dtype, len(shapes))
    if backward:
        _refuse_disorder(chosen)
    places = torch.promote_types(dtype, torch.float32)
    prepared = Inputs(
        value.to(dtype).contiguous(),
        shapes,
        None if references is None else references.to(places).contiguous(),
        offsets.to(places if references is None else dtype).contiguous(),
        logits.to(dtype).contiguous(),
    )
    return prepared, module_of(chosen)


def _refuse_disorder(backend: str) -> None:
    if KNOWN[backend].deterministic or not torch.are_deterministic_algorithms_enabled():
        return
    message = (
        f"the gradients of op={backend} differ in their last digits from run to run, and "
        "torch.use_deterministic_algorithms is on; train on the CPU, or set "
        "trainer.deterministic=false"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    warnings.warn(message, stacklevel=2)


@torch.library.impl("detbox::ms_deform_attn", "default")
def _classic(
    value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor, backend: str = "auto"
) -> Tensor:
    return _forward(backend, Inputs(value, pairs(shapes), None, locations, weights))


@torch.library.impl("detbox::ms_deform_attn_backward", "default")
def _classic_backward(
    grad_output: Tensor,
    value: Tensor,
    shapes: list[int],
    locations: Tensor,
    weights: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = Inputs(value, pairs(shapes), None, locations, weights)
    grad_value, _, grad_locations, grad_weights = _backward(backend, grad_output, inputs, False)
    return grad_value, grad_locations, grad_weights


@torch.library.impl("detbox::ms_deform_attn_fused", "default")
def _fused(
    value: Tensor,
    shapes: list[int],
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
    backend: str = "auto",
) -> Tensor:
    return _forward(backend, Inputs(value, pairs(shapes), references, offsets, logits))


@torch.library.impl("detbox::ms_deform_attn_fused_backward", "default")
def _fused_backward(
    grad_output: Tensor,
    value: Tensor,
    shapes: list[int],
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
    backend: str,
    references_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = Inputs(value, pairs(shapes), references, offsets, logits)
    return _backward(backend, grad_output, inputs, references_grad)


def _fake(
    value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor, backend: str = "auto"
) -> Tensor:
    return value.new_empty(*locations.shape[:2], value.shape[2] * value.shape[3])


def _fake_backward(
    grad_output: Tensor,
    value: Tensor,
    shapes: list[int],
    locations: Tensor,
    weights: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(value), _like(locations), _like(weights)


def _fake_fused(
    value: Tensor,
    shapes: list[int],
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
    backend: str = "auto",
) -> Tensor:
    return value.new_empty(*offsets.shape[:2], value.shape[2] * value.shape[3])


def _fake_fused_backward(
    grad_output: Tensor,
    value: Tensor,
    shapes: list[int],
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
    backend: str,
    references_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_references = _like(references) if references_grad else offsets.new_empty(0)
    return _like(value), grad_references, _like(offsets), _like(logits)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _keep_classic(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.shapes, locations, weights, ctx.backend = inputs
    ctx.save_for_backward(value, locations, weights)


def _derive_classic(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    grad_value, grad_locations, grad_weights = torch.ops.detbox.ms_deform_attn_backward(
        grad_output, value, ctx.shapes, locations, weights, ctx.backend
    )
    return grad_value, None, grad_locations, grad_weights, None


def _keep_fused(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.shapes, references, offsets, logits, ctx.backend = inputs
    ctx.save_for_backward(value, references, offsets, logits)


def _derive_fused(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[2]
    value, *others = ctx.saved_tensors
    gradients = torch.ops.detbox.ms_deform_attn_fused_backward(
        grad_output, value, ctx.shapes, *others, ctx.backend, wanted
    )
    grad_value, grad_references, grad_offsets, grad_logits = gradients
    grad_references = grad_references if wanted else None
    return grad_value, None, grad_references, grad_offsets, grad_logits, None


torch.library.register_autograd(
    "detbox::ms_deform_attn", _derive_classic, setup_context=_keep_classic
)
torch.library.register_autograd(
    "detbox::ms_deform_attn_fused", _derive_fused, setup_context=_keep_fused
)

torch.library.register_fake("detbox::ms_deform_attn", _fake)
torch.library.register_fake("detbox::ms_deform_attn_backward", _fake_backward)
torch.library.register_fake("detbox::ms_deform_attn_fused", _fake_fused)
torch.library.register_fake("detbox::ms_deform_attn_fused_backward", _fake_fused_backward)
