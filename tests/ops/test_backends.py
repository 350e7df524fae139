"""Every backend computes what the definition computes, on its device or emulated on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from emulation import baseline_cpu, emulated_cuda, emulated_metal, interpreted_triton, toolchain
from op_cases import (
    HEADS,
    SHAPES,
    Results,
    assert_parity,
    expected,
    grad_output,
    inputs,
    results,
)
from torch import Tensor

from detbox.ops import ms_deform_attn, ms_deform_attn_fused
from detbox.ops.kernel import Gradients, Inputs, Kernel
from detbox.ops.native import MAX_LEVELS
from detbox.ops.selection import KNOWN, module_of

EMULATED: dict[str, Callable[[Path], Kernel]] = {
    "baseline-cpu": baseline_cpu.kernel,
    "emulated-cuda-800": lambda folder: emulated_cuda.kernel(folder, 800),
    "emulated-cuda-900": lambda folder: emulated_cuda.kernel(folder, 900),
    "emulated-metal-240": lambda folder: emulated_metal.kernel(folder, 240),
    "emulated-metal-310": lambda folder: emulated_metal.kernel(folder, 310),
}
TYPES = {
    **{name: known.types for name, known in KNOWN.items()},
    "interpreted-triton": KNOWN["triton"].types,
    "baseline-cpu": KNOWN["cpu"].types,
    "emulated-cuda-800": KNOWN["cuda"].types,
    "emulated-cuda-900": KNOWN["cuda"].types,
    # Before version 3.1 the Metal language has no bfloat16.
    "emulated-metal-240": (torch.float32, torch.float16),
    "emulated-metal-310": KNOWN["mps"].types,
}


def lacks(name: str) -> str | None:
    """Why a kernel cannot run here; None if it can."""
    if name in KNOWN:
        return module_of(name).missing()
    if name in EMULATED:
        return toolchain.missing()
    found = importlib.util.find_spec("triton")
    return None if found else "triton is not installed; `pip install triton`"


RUNNABLE = [name for name in TYPES if lacks(name) is None]


def marked(name: str, *others: object) -> Any:
    """A parameter, marked if it takes a CUDA device."""
    on_gpu = name in KNOWN and KNOWN[name].device == "cuda"
    words = [str(each).removeprefix("torch.") for each in (name, *others)]
    marks = [pytest.mark.gpu] if on_gpu else []
    return pytest.param(name, *others, marks=marks, id="-".join(words))


def kernels(names: Collection[str]) -> pytest.MarkDecorator:
    """Those of them that can run here."""
    runnable = [marked(name) for name in RUNNABLE if name in names]
    return pytest.mark.parametrize("kernel", runnable, indirect=True)


typed = [marked(name, dtype) for name in RUNNABLE for dtype in TYPES[name]]
every_type = pytest.mark.parametrize(("kernel", "dtype"), typed, indirect=["kernel"])
every_kernel = kernels(TYPES)
cpu_kernels = kernels(("cpu", "baseline-cpu"))
every_size = pytest.mark.parametrize("size", [0, 2, 4])


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """The kernel of a name."""
    name = request.param
    if reason := lacks(name):
        pytest.skip(f"{name}: {reason}")
    if name in EMULATED:
        return EMULATED[name](request.getfixturevalue("emulation_folder"))
    if name == "interpreted-triton":
        return interpreted_triton.kernel()
    return OnDevice(module_of(name), KNOWN[name].device or "cpu")


class OnDevice:
    """A backend given tensors of the CPU, whatever its device."""

    def __init__(self, backend: ModuleType, device: str) -> None:
        self._backend, self._device = backend, device

    def forward(self, given: Inputs) -> Tensor:
        return self._backend.forward(self._there(given)).cpu()

    def backward(self, grad: Tensor, given: Inputs, references_grad: bool) -> Gradients:
        there = grad.to(self._device), self._there(given), references_grad
        gradients = self._backend.backward(*there)
        return Gradients._make(each if each is None else each.cpu() for each in gradients)

    def _there(self, given: Inputs) -> Inputs:
        return Inputs._make(x.to(self._device) if isinstance(x, Tensor) else x for x in given)


@pytest.mark.parametrize("kernel", [marked(name) for name in TYPES], indirect=True)
def test_values_and_gradients_equal_the_definition(kernel: Kernel) -> None:
    """The one test that is skipped for a kernel that cannot run: it says why."""
    assert_parity(kernel, inputs(4))


@every_type
@pytest.mark.parametrize("width", [1, 5, 16, 24, 32, 33, 64, 160])
def test_every_head_width_and_type(kernel: Kernel, dtype: torch.dtype, width: int) -> None:
    assert_parity(kernel, inputs(4, width=width, dtype=dtype, points=4))


@every_type
@pytest.mark.parametrize("size", [0, 2])
def test_every_form_and_type(kernel: Kernel, dtype: torch.dtype, size: int) -> None:
    assert_parity(kernel, inputs(size, dtype=dtype))


@every_kernel
@every_size
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_any_number_of_levels(kernel: Kernel, size: int, levels: int) -> None:
    assert_parity(kernel, inputs(size, width=5, queries=levels, shapes=SHAPES[:levels]))


@every_kernel
def test_as_many_levels_as_may_be(kernel: Kernel) -> None:
    assert_parity(kernel, inputs(4, shapes=((2, 1),) * MAX_LEVELS, points=2))


@every_kernel
@pytest.mark.parametrize("queries", [1, 31, 67])
def test_any_number_of_queries(kernel: Kernel, queries: int) -> None:
    assert_parity(kernel, inputs(2, queries=queries, shapes=((3, 2),)))


@every_kernel
@every_size
def test_points_on_borders_take_the_derivative_to_the_right(kernel: Kernel, size: int) -> None:
    rows, columns, points = 4, 8, 4  # powers of two: places are exact in any type
    place = torch.tensor([-1.0, -0.5, 0.0, 1.0, 2.5, 3.0, 4.0, 7.0, 8.0])
    places = torch.cartesian_prod(place, place)[None, :, None, None, None]
    given = inputs(size, queries=81, points=points, shapes=((rows, columns),))
    offsets = places + 0.5
    if size != 2:
        offsets = offsets / torch.tensor([columns, rows]) * (2 * points if size else 1)
    offsets = offsets.expand_as(given.offsets).contiguous()
    references = torch.tensor([0.0, 0.0, 1.0, 1.0][:size]).expand(2, 81, 1, size).contiguous()
    given = given._replace(offsets=offsets, references=references if size else None)
    assert_parity(kernel, given)


def lost(size: int, places: Sequence[float]) -> tuple[Inputs, Results]:
    """A query per place with points there, and what it gives if those are simply outside."""
    given = inputs(size, queries=len(places))
    if size == 4:  # smaller boxes would pull points back inside
        given = given._replace(references=given.references.clamp(min=0.1))
    there, outside = given.offsets.clone(), given.offsets.clone()
    for query, place in enumerate(places):
        there[:, query, :, :, 1, 0] = there[:, query, :, :, 2, 1] = place
    outside[:, :, :, :, 1, 0] = outside[:, :, :, :, 2, 1] = 1e3
    return given._replace(offsets=there), expected(given._replace(offsets=outside))


@every_kernel
@every_size
def test_points_far_outside_count_for_nothing(kernel: Kernel, size: int) -> None:
    given, wanted = lost(size, [1e3, -1e3, 3e9, -3e9, 1e30])
    assert_parity(kernel, given, wanted)


@kernels(TYPES.keys() - {"pytorch"})
@every_size
def test_points_nowhere_count_as_points_outside(kernel: Kernel, size: int) -> None:
    """Not so in the definition: `grid_sample` makes NaN of them."""
    given, wanted = lost(size, [float("nan"), float("inf"), -float("inf")])
    assert_parity(kernel, given, wanted)


@every_kernel
def test_cells_that_no_point_touches_may_be_nan(kernel: Kernel) -> None:
    """Points beside the corner cells of levels: whatever is read wrongly is not a number."""
    shapes = ((4, 4), (2, 3), (1, 1))
    given = inputs(0, shapes=shapes)
    sizes = torch.tensor([(columns, rows) for rows, columns in shapes])[:, None]
    low = torch.rand(given.offsets.shape) < 0.5
    locations = torch.where(low, 0.2 / sizes, (sizes - 0.2) / sizes)
    levels = [torch.full((rows, columns), torch.nan) for rows, columns in shapes]
    for level in levels:
        level[:: max(1, len(level) - 1), :: max(1, len(level[0]) - 1)] = 1.0
    value = given.value * torch.cat([level.flatten() for level in levels])[:, None, None]
    given = given._replace(offsets=locations, value=value)
    assert_parity(kernel, given, expected(given._replace(value=value.nan_to_num())))


@every_kernel
@every_size
def test_other_images_and_heads_are_not_read(kernel: Kernel, size: int) -> None:
    given = inputs(size)
    value, offsets, logits = given.value.clone(), given.offsets.clone(), given.logits.clone()
    for each in (value, offsets, logits):
        each[1], each[:, :, 1] = torch.nan, torch.nan
    poisoned = given._replace(value=value, offsets=offsets, logits=logits)
    got, wanted = results(kernel, poisoned), results(kernel, given)
    torch.testing.assert_close(got.output[0, :, :16], wanted.output[0, :, :16])
    for name in ("value", "offsets", "logits"):
        one, other = (getattr(each, name)[0, :, 0] for each in (got, wanted))
        torch.testing.assert_close(one, other)


@every_kernel
@every_size
def test_a_logit_that_is_no_number_shows_in_its_query(kernel: Kernel, size: int) -> None:
    given = inputs(size)
    logits, affected = given.logits.clone(), torch.zeros(2, 7, HEADS, 16, dtype=torch.bool)
    logits[1, 3, 1, 0, 2], affected[1, 3, 1] = torch.nan, True
    output = kernel.forward(given._replace(logits=logits, offsets=torch.zeros_like(given.offsets)))
    torch.testing.assert_close(output.isnan(), affected.flatten(2))


@every_kernel
@pytest.mark.parametrize("size", [2, 4])
def test_a_gradient_that_nobody_wants_changes_no_other(kernel: Kernel, size: int) -> None:
    given = inputs(size)
    some = kernel.backward(grad_output(given), given, False)
    every = kernel.backward(grad_output(given), given, True)
    assert some.references is None
    for one, other in zip(some, every._replace(references=None), strict=True):
        torch.testing.assert_close(one, other)


@every_kernel
@every_size
@pytest.mark.parametrize(("batch", "queries"), [(2, 0), (0, 5)])
def test_nothing_to_attend_gives_empty_outputs_and_no_gradient(
    kernel: Kernel, size: int, batch: int, queries: int
) -> None:
    given = inputs(size, batch=batch, queries=queries)
    got = results(kernel, given)
    assert got.output.shape == (batch, queries, HEADS * 16)
    wanted = (given.value, given.references, given.offsets, given.logits)
    for gradient, tensor in zip(got[1:], wanted, strict=True):
        assert (gradient is None) == (tensor is None)
        if tensor is not None:
            assert gradient.shape == tensor.shape
    assert not got.value.any()


@cpu_kernels
@every_size
@pytest.mark.parametrize("queries", [3, 40], ids=["few", "many"])
@pytest.mark.parametrize("dtype", KNOWN["cpu"].types)
def test_few_queries_read_in_place_and_many_read_a_copy(
    kernel: Kernel, size: int, queries: int, dtype: torch.dtype
) -> None:
    assert_parity(kernel, inputs(size, width=32, queries=queries, dtype=dtype))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@cpu_kernels
@every_size
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_are_equal_on_any_number_of_threads(
    kernel: Kernel, threads: Callable[[int], None], size: int, dtype: torch.dtype
) -> None:
    given = inputs(size, queries=67, dtype=dtype)
    threads(1)
    one = results(kernel, given)
    threads(2)
    two = results(kernel, given)
    for first, second in zip(one, two, strict=True):
        assert (first is None) == (second is None)
        assert first is None or second is None or torch.equal(first, second)


@pytest.mark.parametrize("backend", ["cpu", "pytorch"])
@every_size
def test_gradients_equal_finite_differences(backend: str, size: int) -> None:
    if reason := module_of(backend).missing():
        pytest.skip(reason)
    value, shapes, *others = inputs(size, width=3, queries=2, points=2, dtype=torch.float64)
    tensors = [each.requires_grad_() for each in (value, *others) if each is not None]
    op = ms_deform_attn_fused if size else ms_deform_attn
    assert torch.autograd.gradcheck(
        lambda value, *others: op(value, shapes, *others, backend=backend), tensors
    )
