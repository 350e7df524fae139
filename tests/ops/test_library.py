"""The operators inside torch: checks, compile, export, autocast, deterministic mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detbox.layers.deformable_attention import DeformableAttention
from detbox.ops import cpu, library, ms_deform_attn, ms_deform_attn_fused, selection
from detbox.ops.examples import example
from detbox.structures import Memory

SHAPES = ((4, 5), (2, 3), (1, 1))
SIZES = [4, 5, 2, 3, 1, 1]
BACKENDS = [
    "pytorch",
    pytest.param(
        "cpu", marks=pytest.mark.skipif(cpu.missing() is not None, reason=str(cpu.missing()))
    ),
]


def fused(dtype: torch.dtype = torch.float32, reference_size: int = 2) -> tuple[Tensor, ...]:
    """value, references, offsets, logits that want gradients."""
    given = example(SHAPES, 7, batch=2, heads=2, width=8, points=2, reference_size=reference_size)
    assert given.references is not None
    tensors = (given.value, given.references, given.offsets, given.logits)
    return tuple(each.to(dtype).requires_grad_() for each in tensors)


def attend(value: Tensor, *places: Tensor, backend: str | None = None) -> Tensor:
    """The fused op on the levels of this file."""
    return ms_deform_attn_fused(value, SHAPES, *places, backend=backend)


# Torch's own check reads the gradients of its copies.
quietly = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")


@quietly
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reference_size", [2, 4])
def test_torch_finds_no_fault_with_the_fused_operator(backend: str, reference_size: int) -> None:
    value, *places = fused(reference_size=reference_size)
    arguments = (value, SIZES, *places, backend)
    assert set(torch.library.opcheck(library.ms_deform_attn_fused, arguments).values()) == {
        "SUCCESS"
    }


@quietly
@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_finds_no_fault_with_the_classic_operator(backend: str) -> None:
    value, _, offsets, logits = fused()
    arguments = (value, SIZES, offsets, logits, backend)
    assert set(torch.library.opcheck(library.ms_deform_attn, arguments).values()) == {"SUCCESS"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_other_gradients_do_not_depend_on_whether_references_want_one(backend: str) -> None:
    value, references, offsets, logits = fused()
    wanted = (value, offsets, logits)
    full = attend(value, references, offsets, logits, backend=backend).square().sum()
    part = attend(value, references.detach(), offsets, logits, backend=backend).square().sum()
    for one, other in zip(
        torch.autograd.grad(full, wanted), torch.autograd.grad(part, wanted), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_compiles_into_one_graph(backend: str) -> None:
    def loss(*tensors: Tensor) -> Tensor:
        return attend(*tensors, backend=backend).square().sum()

    tensors = fused()
    plain, compiled = (
        each(*tensors) for each in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager"))
    )
    torch.testing.assert_close(compiled, plain)
    gradients = (torch.autograd.grad(each, tensors) for each in (plain, compiled))
    for wanted, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


class Attention(nn.Module):
    """The op as a module, for exporters."""

    def forward(self, value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        """(B, Q, heads * D)."""
        return attend(value, references, offsets, logits)


def test_it_exports_with_a_free_number_of_queries() -> None:
    tensors = tuple(each.detach() for each in fused())
    queries = torch.export.Dim("queries", min=2, max=100)
    sizes: tuple[dict[int, Any], ...] = ({}, {1: queries}, {1: queries}, {1: queries})
    exported = torch.export.export(Attention(), tensors, dynamic_shapes=sizes)
    fewer = (tensors[0], *(each[:, :5] for each in tensors[1:]))
    torch.testing.assert_close(exported.module()(*fewer), attend(*fewer))


def test_autocast_computes_places_in_float32() -> None:
    torch.manual_seed(0)
    attention = DeformableAttention(32, num_levels=1, num_heads=2, num_points=2)
    nn.init.normal_(attention.sampling_offsets.weight, std=0.02)
    tokens = torch.randn(1, 2 * 3000, 32)
    nothing = torch.zeros(1, 6000, dtype=torch.bool)
    memory = Memory(tokens, nothing, tokens, ((2, 3000),), torch.ones(1, 1, 2))
    references = torch.rand(1, 50, 1, 2)
    exact = attention(tokens[:, :50], references, memory)
    with torch.autocast("cpu", torch.bfloat16):
        half = attention(tokens[:, :50], references, memory)
    assert half.dtype == torch.bfloat16
    # A place of 3000 cells in bfloat16 would be wrong by several cells, and the output all noise.
    assert (half.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_mixed_types_are_computed_in_the_wider_one(backend: str) -> None:
    value, references, offsets, logits = fused()
    half = value.detach().bfloat16().requires_grad_()
    output = attend(half, references, offsets, logits, backend=backend)
    wide = attend(half.float(), references, offsets, logits, backend=backend)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output, wide.bfloat16())
    output.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert offsets.grad is not None
    assert offsets.grad.dtype == torch.float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_of_any_stride_are_taken(backend: str) -> None:
    value, references, offsets, logits = fused()
    strided = (
        value.detach().transpose(1, 2).contiguous().transpose(1, 2),
        references.detach()[:, :, :1].expand(-1, -1, 3, -1),
        offsets.detach().flip(1)[:, :, :, :, :, [1, 0]],
        logits.detach().repeat(1, 2, 1, 1, 1)[:, ::2],
    )
    assert not any(each.is_contiguous() for each in strided[:2])
    dense = tuple(each.contiguous() for each in strided)
    torch.testing.assert_close(attend(*strided, backend=backend), attend(*dense, backend=backend))


@pytest.mark.parametrize(
    ("position", "change", "told"),
    [
        (0, lambda each: each[:, 1:], r"value must be \(B, 27"),
        (1, lambda each: each[:, :, :2], r"references must be \(B=2, Q=7, L=3, 2 or 4\)"),
        (1, lambda each: each[..., :1], "references must be"),
        (2, lambda each: each[..., 0], "offsets must be"),
        (3, lambda each: each[:, :5], "logits must be .* like offsets"),
        (2, lambda each: each.long(), "offsets must be of a floating-point type, got torch.int64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(position: int, change: Any, told: str) -> None:
    tensors = list(fused())
    tensors[position] = change(tensors[position].detach())
    with pytest.raises(ValueError, match=told):
        attend(*tensors)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """torch.use_deterministic_algorithms for one test."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
def test_a_backend_that_adds_in_any_order_is_refused_in_deterministic_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = selection.KNOWN["cpu"]
    value, _, offsets, logits = fused()
    output = ms_deform_attn(value, SHAPES, offsets, logits)
    monkeypatch.setitem(selection.KNOWN, "cpu", facts._replace(deterministic=False))
    monkeypatch.setitem(
        selection.KNOWN, "pytorch", selection.KNOWN["pytorch"]._replace(deterministic=False)
    )
    output = library.ms_deform_attn(value, SIZES, offsets, logits, "auto")
    with pytest.raises(RuntimeError, match=r"differ in their last digits.*deterministic=false"):
        output.sum().backward()
    torch.use_deterministic_algorithms(True, warn_only=True)
    with pytest.warns(UserWarning, match="differ in their last digits"):
        library.ms_deform_attn(value, SIZES, offsets, logits, "auto").sum().backward()


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_others_give_equal_gradients_twice(backend: str) -> None:
    tensors = fused()
    runs = (
        torch.autograd.grad(attend(*tensors, backend=backend).square().sum(), tensors)
        for _ in range(2)
    )
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)
