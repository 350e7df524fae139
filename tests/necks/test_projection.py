"""The neck of one level."""

from __future__ import annotations

import pytest
import torch

from detbox.registry import NECKS


def test_only_the_last_map_is_read() -> None:
    neck = NECKS.build({"name": "projection", "hidden_dim": 8}, (3, 5), (16, 32))
    first, last = torch.randn(2, 3, 6, 8, requires_grad=True), torch.randn(2, 5, 3, 4)
    (level,) = neck((first, last))
    assert (neck.channels, neck.strides) == (8, (32,))
    assert level.shape == (2, 8, 3, 4)
    (gradient,) = torch.autograd.grad(level.sum(), first, allow_unused=True)
    assert gradient is None


def test_a_width_without_room_for_the_codes_of_places_is_refused() -> None:
    with pytest.raises(ValueError, match=r"multiple of 4.*try neck\.hidden_dim="):
        NECKS.build({"name": "projection", "hidden_dim": 6}, (3,), (32,))
