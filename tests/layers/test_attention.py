"""Dense attention against PyTorch's own module and against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from detbox.layers.attention import Attention, attend, joined_heads

B, Q, S, C, HEADS = 2, 5, 7, 16, 4
PADDING = torch.arange(S) >= torch.tensor([[S], [4]])
BLOCKED = torch.rand(Q, S, generator=torch.Generator().manual_seed(0)) < 0.3


def tokens(count: int, seed: int, channels: int = C) -> Tensor:
    """Random tokens, (B, count, channels)."""
    return torch.randn(B, count, channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("padding", [None, PADDING])
@pytest.mark.parametrize("blocked", [None, BLOCKED])
def test_outputs_and_gradients_are_those_of_pytorch(
    padding: Tensor | None, blocked: Tensor | None
) -> None:
    ours, theirs = Attention(C, HEADS), nn.MultiheadAttention(C, HEADS, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    inputs = tokens(Q, 1), tokens(S, 2), tokens(S, 3)
    first = ours(*inputs, padding, blocked)
    second, _ = theirs(*inputs, key_padding_mask=padding, attn_mask=blocked)
    torch.testing.assert_close(first, second)
    first.square().sum().backward()
    second.square().sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad)


def test_attention_starts_as_in_the_official_transformers() -> None:
    attention = Attention(C, HEADS)
    reach = {"in_proj_weight": (6 / (4 * C)) ** 0.5, "out_proj.weight": (6 / (2 * C)) ** 0.5}
    for name, parameter in attention.named_parameters():
        limit = reach.get(name, 0.0)
        assert parameter.abs().max() <= limit
        assert parameter.abs().max() >= 0.9 * limit


def test_joined_heads_add_their_products_before_the_softmax() -> None:
    query, key, value = tokens(Q, 1), tokens(S, 2), tokens(S, 3)
    place, cell = tokens(Q, 4), tokens(S, 5)
    joined = attend(joined_heads(query, place, HEADS), joined_heads(key, cell, HEADS), value, HEADS)

    def products(first: Tensor, second: Tensor) -> Tensor:
        split = [x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (first, second)]
        return split[0] @ split[1].mT

    logits = (products(query, key) + products(place, cell)) / (2 * C / HEADS) ** 0.5
    values = value.unflatten(-1, (HEADS, -1)).transpose(1, 2)
    expected = (logits.softmax(-1) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(joined, expected)


def test_padded_and_blocked_keys_are_never_seen() -> None:
    query, key, value = tokens(Q, 1), tokens(S, 2), tokens(S, 3)
    hidden = PADDING | BLOCKED.all(0)
    before = attend(query, key, value, HEADS, PADDING, BLOCKED)
    keys, values = (torch.where(hidden[..., None], 100.0, each) for each in (key, value))
    torch.testing.assert_close(attend(query, keys, values, HEADS, PADDING, BLOCKED), before)


def test_dropout_rests_in_evaluation() -> None:
    attention, inputs = Attention(C, HEADS, dropout=0.5), (tokens(Q, 1),) * 3
    assert not torch.equal(attention(*inputs), attention(*inputs))
    attention.eval()
    assert torch.equal(attention(*inputs), attention(*inputs))


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 5 and 16; try model\.num_heads=4"):
        Attention(16, 5)
