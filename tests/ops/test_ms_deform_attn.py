"""The definition of the deformable attention op, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detbox.ops import ms_deform_attn

SHAPES = ((4, 5), (2, 3), (1, 1))
TOKENS = 27


def inputs(queries: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Value of 2 heads and 3 channels, locations also outside the maps, and weights."""
    torch.manual_seed(0)
    value = torch.randn(2, TOKENS, 2, 3, dtype=dtype)
    locations = 1.6 * torch.rand(2, queries, 2, len(SHAPES), 2, 2, dtype=dtype) - 0.3
    weights = torch.rand(2, queries, 2, len(SHAPES), 2, dtype=dtype)
    return value, locations, weights


def test_gradients_equal_finite_differences() -> None:
    tensors = tuple(each.requires_grad_() for each in inputs(queries=2))
    assert torch.autograd.gradcheck(lambda v, x, w: ms_deform_attn(v, SHAPES, x, w), tensors)


def test_a_cell_centre_reads_exactly_that_cell() -> None:
    value, locations, weights = inputs(queries=1)
    locations = torch.full_like(locations, 9.0)
    locations[:, :, :, 0, 0] = torch.tensor([(2 + 0.5) / 5, (1 + 0.5) / 4])
    output = ms_deform_attn(value, SHAPES, locations, torch.ones_like(weights))
    torch.testing.assert_close(output[:, 0], value[:, 1 * 5 + 2].flatten(1))


def test_points_outside_read_zero() -> None:
    value, locations, weights = inputs()
    assert not ms_deform_attn(value, SHAPES, locations + 5, weights).any()


def test_the_output_is_linear_in_the_weights() -> None:
    value, locations, weights = inputs()
    once, twice = (ms_deform_attn(value, SHAPES, locations, k * weights) for k in (1, 2))
    torch.testing.assert_close(2 * once, twice)


def test_no_query_gives_an_empty_output() -> None:
    value, locations, weights = inputs(queries=0)
    assert ms_deform_attn(value, SHAPES, locations, weights).shape == (2, 0, 6)


def test_an_unknown_backend_is_refused() -> None:
    value, locations, weights = inputs()
    with pytest.raises(ValueError, match="must be one of auto"):
        ms_deform_attn(value, SHAPES, locations, weights, backend="cudaa")


def test_tensors_that_do_not_fit_are_refused_by_name() -> None:
    value, locations, weights = inputs()
    with pytest.raises(ValueError, match="value must be"):
        ms_deform_attn(value[:, 1:], SHAPES, locations, weights)
    with pytest.raises(ValueError, match="locations must be"):
        ms_deform_attn(value, SHAPES, locations[..., 0], weights)
    with pytest.raises(ValueError, match="locations must be"):
        ms_deform_attn(value, SHAPES, locations[:, :, :, :2], weights)
    with pytest.raises(ValueError, match="weights must be"):
        ms_deform_attn(value, SHAPES, locations, weights[..., :1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_values_are_sampled_at_exact_places(dtype: torch.dtype) -> None:
    value = torch.randn(1, 100 * 167, 2, 4)
    locations, weights = torch.rand(1, 50, 2, 1, 4, 2), torch.full((1, 50, 2, 1, 4), 0.25)
    exact = ms_deform_attn(value, [(100, 167)], locations, weights)
    half = ms_deform_attn(value.to(dtype), [(100, 167)], locations, weights.to(dtype))
    assert half.dtype == dtype
    assert (half.float() - exact).abs().max() < 0.02
