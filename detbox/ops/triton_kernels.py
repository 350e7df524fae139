"""Deformable attention in Triton: one program takes one head of a block of queries.

Tiles are (queries, points, channels) of one level, and the levels are unrolled. A level's size
comes as one number, `height << 32 | width`: scalars need no copy to the device and, when they are
not specialised on, no compilation per picture size. With `reference_size` 0 `offsets` are
locations and `logits` are weights. All arithmetic is done in float32.

`sums` (B, Q, heads) and `dots` (B, Q, heads, L, P) are scratch: memory that a program writes and,
behind a barrier, reads again in another layout than the one it was reduced in. Kept in registers,
the logarithm of the softmax's denominator made every level's tile pass through shared memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import triton
import triton.language as tl

SIZES = tuple(f"size{level}" for level in range(16))
VARYING = ("tokens", "queries", *SIZES)
Function = TypeVar("Function", bound=Callable[..., Any])
helper: Callable[[Function], Function] = triton.jit
kernel: Callable[[Function], Function] = triton.jit(do_not_specialize=VARYING)


@kernel
def forward_kernel(
    value: tl.tensor, references: tl.tensor, offsets: tl.tensor, logits: tl.tensor,
    sums: tl.tensor, output: tl.tensor, tokens: tl.tensor, queries: tl.tensor,
    size0: tl.tensor, size1: tl.tensor, size2: tl.tensor, size3: tl.tensor,
    size4: tl.tensor, size5: tl.tensor, size6: tl.tensor, size7: tl.tensor,
    size8: tl.tensor, size9: tl.tensor, size10: tl.tensor, size11: tl.tensor,
    size12: tl.tensor, size13: tl.tensor, size14: tl.tensor, size15: tl.tensor,
    heads: tl.constexpr, width: tl.constexpr, levels: tl.constexpr, points: tl.constexpr,
    reference_size: tl.constexpr, index: tl.constexpr,
    block_q: tl.constexpr, block_s: tl.constexpr, block_p: tl.constexpr, block_d: tl.constexpr,
) -> None:  # fmt: skip
    """Write the block's part of `output`."""
    query, point, channel = tl.arange(0, block_q), tl.arange(0, block_p), tl.arange(0, block_d)
    image, first, row, live = _block(tokens, queries, query, heads, block_q)
    seen = live[:, None] & (point < points)[None, :]
    # What a query has once is read once per point: in one layout, threads need not exchange it.
    steps = tl.broadcast_to(query[:, None], (block_q, block_p))
    value += image * width
    references += first * (levels * reference_size)
    offsets += row * (levels * points * 2)
    logits += row * (levels * points)
    if reference_size > 0:
        sums += row
        sum_up = _log_sum_exp(logits, query, live, heads, levels, points, block_s)
        tl.store(sums + query * heads, sum_up, live)
        tl.debug_barrier()

    start = 0
    mixed = tl.full((block_q, block_p, block_d), 0, tl.float32)
    for level in tl.static_range(levels):
        size = (size0, size1, size2, size3, size4, size5, size6, size7,
                size8, size9, size10, size11, size12, size13, size14, size15)[level]  # fmt: skip
        rows, columns = (size >> 32).to(tl.int32), size.to(tl.int32)
        slot = query[:, None] * (heads * levels * points) + level * points + point[None, :]
        near = references + steps * (levels * reference_size) + level * reference_size
        weight = tl.load(logits + slot, seen, 0).to(tl.float32)
        if reference_size > 0:
            weight = tl.exp(weight - tl.load(sums + steps * heads, seen, 0))
        x, _, _ = _pixels(offsets + slot * 2, near, seen, columns, points, reference_size)
        y, _, _ = _pixels(offsets + slot * 2 + 1, near + 1, seen, rows, points, reference_size)
        cell, right, below, nw, ne, sw, se = _corners(x, y, seen, rows, columns)
        at = value + (start + cell).to(index)[:, :, None] * (heads * width) + channel[None, None, :]
        under = at + columns.to(index) * (heads * width)
        sampled = ((1 - below) * (1 - right))[:, :, None] * _read(at, nw, channel, width)
        sampled += ((1 - below) * right)[:, :, None] * _read(at + heads * width, ne, channel, width)
        sampled += (below * (1 - right))[:, :, None] * _read(under, sw, channel, width)
        sampled += (below * right)[:, :, None] * _read(under + heads * width, se, channel, width)
        mixed += weight[:, :, None] * sampled
        start += rows * columns
    there = output + row * width + query[:, None] * (heads * width) + channel[None, :]
    tl.store(there, tl.sum(mixed, 1), live[:, None] & (channel < width)[None, :])


@kernel
def backward_kernel(
    value: tl.tensor, references: tl.tensor, offsets: tl.tensor, logits: tl.tensor,
    sums: tl.tensor, dots: tl.tensor, grad_output: tl.tensor, grad_value: tl.tensor,
    grad_references: tl.tensor, grad_offsets: tl.tensor, grad_logits: tl.tensor,
    tokens: tl.tensor, queries: tl.tensor,
    size0: tl.tensor, size1: tl.tensor, size2: tl.tensor, size3: tl.tensor,
    size4: tl.tensor, size5: tl.tensor, size6: tl.tensor, size7: tl.tensor,
    size8: tl.tensor, size9: tl.tensor, size10: tl.tensor, size11: tl.tensor,
    size12: tl.tensor, size13: tl.tensor, size14: tl.tensor, size15: tl.tensor,
    heads: tl.constexpr, width: tl.constexpr, levels: tl.constexpr, points: tl.constexpr,
    reference_size: tl.constexpr, references_grad: tl.constexpr,
    index: tl.constexpr,
    block_q: tl.constexpr, block_s: tl.constexpr, block_p: tl.constexpr, block_d: tl.constexpr,
) -> None:  # fmt: skip
    """Add to `grad_value`, a zeroed buffer of float32, and write the block's other gradients."""
    query, point, channel = tl.arange(0, block_q), tl.arange(0, block_p), tl.arange(0, block_d)
    image, first, row, live = _block(tokens, queries, query, heads, block_q)
    seen = live[:, None] & (point < points)[None, :]
    # What a query has once is read once per point: in one layout, threads need not exchange it.
    steps = tl.broadcast_to(query[:, None], (block_q, block_p))
    value += image * width
    grad_value += image * width
    references += first * (levels * reference_size)
    offsets += row * (levels * points * 2)
    grad_offsets += row * (levels * points * 2)
    logits += row * (levels * points)
    grad_logits += row * (levels * points)
    if reference_size > 0:
        sums += row
        sum_up = _log_sum_exp(logits, query, live, heads, levels, points, block_s)
        tl.store(sums + query * heads, sum_up, live)
        tl.debug_barrier()
        dots += row * (levels * points)
        mean = tl.full((block_q, block_p), 0, tl.float32)
    if references_grad:
        grad_references += row * (levels * reference_size)
    there = grad_output + row * width + query[:, None] * (heads * width) + channel[None, :]
    grad = tl.load(there, live[:, None] & (channel < width)[None, :], 0).to(tl.float32)[:, None, :]

    start = 0
    for level in tl.static_range(levels):
        size = (size0, size1, size2, size3, size4, size5, size6, size7,
                size8, size9, size10, size11, size12, size13, size14, size15)[level]  # fmt: skip
        rows, columns = (size >> 32).to(tl.int32), size.to(tl.int32)
        slot = query[:, None] * (heads * levels * points) + level * points + point[None, :]
        near = references + steps * (levels * reference_size) + level * reference_size
        weight = tl.load(logits + slot, seen, 0).to(tl.float32)
        if reference_size > 0:
            weight = tl.exp(weight - tl.load(sums + steps * heads, seen, 0))
        x, offset_x, extent_x = _pixels(
            offsets + slot * 2, near, seen, columns, points, reference_size
        )
        y, offset_y, extent_y = _pixels(
            offsets + slot * 2 + 1, near + 1, seen, rows, points, reference_size
        )
        cell, right, below, nw, ne, sw, se = _corners(x, y, seen, rows, columns)
        cells = (start + cell).to(index)[:, :, None] * (heads * width) + channel[None, None, :]
        at, under = value + cells, value + cells + columns.to(index) * (heads * width)
        # A sum over channels per corner: every gradient but that of `value` is a mix of the four.
        dot_nw = tl.sum(_read(at, nw, channel, width) * grad, 2)
        dot_ne = tl.sum(_read(at + heads * width, ne, channel, width) * grad, 2)
        dot_sw = tl.sum(_read(under, sw, channel, width) * grad, 2)
        dot_se = tl.sum(_read(under + heads * width, se, channel, width) * grad, 2)
        upper, lower = weight * (1 - below), weight * below
        at, under = grad_value + cells, grad_value + cells + columns.to(index) * (heads * width)
        _add(at, (upper * (1 - right))[:, :, None] * grad, nw, channel, width)
        _add(at + heads * width, (upper * right)[:, :, None] * grad, ne, channel, width)
        _add(under, (lower * (1 - right))[:, :, None] * grad, sw, channel, width)
        _add(under + heads * width, (lower * right)[:, :, None] * grad, se, channel, width)
        grad_x = upper * (dot_ne - dot_nw) + lower * (dot_se - dot_sw)
        grad_y = weight * ((1 - right) * (dot_sw - dot_nw) + right * (dot_se - dot_ne))
        grad_weight = (1 - below) * ((1 - right) * dot_nw + right * dot_ne)
        grad_weight += below * ((1 - right) * dot_sw + right * dot_se)

        if reference_size == 0:
            tl.store(grad_logits + slot, grad_weight, seen)
        else:
            tl.store(dots + slot, grad_weight, seen)
            mean += weight * grad_weight
        share = grad_references + query * (heads * levels * reference_size) + level * reference_size
        _write_place(
            grad_offsets + slot * 2, share, grad_x, columns, offset_x, extent_x,
            seen, live, points, reference_size, references_grad,
        )  # fmt: skip
        _write_place(
            grad_offsets + slot * 2 + 1, share + 1, grad_y, rows, offset_y, extent_y,
            seen, live, points, reference_size, references_grad,
        )  # fmt: skip
        start += rows * columns
    if reference_size > 0:
        mean = tl.sum(mean, 1)[:, None]
        tl.debug_barrier()
        for level in tl.static_range(levels):
            slot = query[:, None] * (heads * levels * points) + level * points + point[None, :]
            weight = tl.load(logits + slot, seen, 0).to(tl.float32)
            weight = tl.exp(weight - tl.load(sums + steps * heads, seen, 0))
            grad_weight = tl.load(dots + slot, seen, 0)
            tl.store(grad_logits + slot, weight * (grad_weight - mean), seen)


@helper
def _block(
    tokens: tl.tensor, queries: tl.tensor, query: tl.tensor,
    heads: tl.constexpr, block_q: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """First row of `value` (B, S, heads), of `references` (B, Q), of `logits` (B, Q, heads) in
    64 bits, and which queries of the block there are."""
    batch, head = tl.program_id(2).to(tl.int64), tl.program_id(1)
    begin = tl.program_id(0) * block_q
    first = batch * queries + begin
    return batch * tokens * heads + head, first, first * heads + head, begin + query < queries


@helper
def _log_sum_exp(
    logits: tl.tensor, query: tl.tensor, live: tl.tensor, heads: tl.constexpr,
    levels: tl.constexpr, points: tl.constexpr, block_s: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Of the logits of each query; of zeros for queries beyond the last."""
    slot = tl.arange(0, block_s)[None, :]
    valid = live[:, None] & (slot < levels * points)
    scores = tl.load(logits + query[:, None] * (heads * levels * points) + slot, valid, 0).to(
        tl.float32
    )
    scores = tl.where(slot < levels * points, scores, -float("inf"))
    top = tl.max(scores, 1)
    return top + tl.log(tl.sum(tl.exp(scores - top[:, None]), 1))


@helper
def _pixels(
    offsets: tl.tensor, reference: tl.tensor, seen: tl.tensor, cells: tl.tensor,
    points: tl.constexpr, reference_size: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """Places on one axis of `cells` cells, their raw offsets, and the extent of boxes."""
    offset = tl.load(offsets, seen, 0).to(tl.float32)
    extent = offset
    if reference_size == 0:
        place = offset * cells - 0.5
    else:
        center = tl.load(reference, seen, 0)
        if reference_size == 2:
            place = center * cells + offset - 0.5
        else:
            extent = tl.load(reference + 2, seen, 0)
            place = (center + offset / points * extent * 0.5) * cells - 0.5
    return place, offset, extent


@helper
def _corners(
    x: tl.tensor, y: tl.tensor, seen: tl.tensor, rows: tl.tensor, columns: tl.tensor
) -> tuple[tl.tensor, ...]:
    """The cell to the north-west of each place, the ways from there to the east and to the south,
    and which of the four cells around exist. Compares as numbers with a fraction, since places
    can be too large for integers, or NaN."""
    inside = seen & (x >= -1) & (x < columns) & (y >= -1) & (y < rows)
    x, y = tl.where(inside, x, 0), tl.where(inside, y, 0)
    west, north = tl.floor(x), tl.floor(y)
    in_west, in_east = inside & (west >= 0), inside & (west + 1 < columns)
    in_north, in_south = north >= 0, north + 1 < rows
    cell = north.to(tl.int32) * columns + west.to(tl.int32)
    return (
        cell, x - west, y - north,
        in_north & in_west, in_north & in_east, in_south & in_west, in_south & in_east,
    )  # fmt: skip


@helper
def _read(
    cells: tl.tensor, exists: tl.tensor, channel: tl.tensor, width: tl.constexpr
) -> tl.tensor:
    """Channels of cells, zero where there is no cell."""
    return tl.load(cells, exists[:, :, None] & (channel < width)[None, None, :], 0).to(tl.float32)


@helper
def _add(
    cells: tl.tensor, grad: tl.tensor, exists: tl.tensor, channel: tl.tensor,
    width: tl.constexpr,
) -> None:  # fmt: skip
    """Add to cells that other programs add to as well."""
    mask = exists[:, :, None] & (channel < width)[None, None, :]
    tl.atomic_add(cells, grad, mask, sem="relaxed")


@helper
def _write_place(
    grad_offsets: tl.tensor, grad_reference: tl.tensor, grad: tl.tensor, cells: tl.tensor,
    offset: tl.tensor, extent: tl.tensor, seen: tl.tensor, live: tl.tensor,
    points: tl.constexpr, reference_size: tl.constexpr, references_grad: tl.constexpr,
) -> None:  # fmt: skip
    """Write what the gradient of places in pixels on one axis means for offsets and references."""
    share = grad * cells
    if reference_size == 0:
        own = share
    elif reference_size == 2:
        own = grad
    else:
        # Places that hit nothing have no gradient, not even those made of infinity or NaN.
        own = tl.where(share == 0, 0, share * extent * 0.5 / points)
    tl.store(grad_offsets, own, seen)
    if references_grad:
        tl.store(grad_reference, tl.sum(share, 1), live)
        if reference_size == 4:
            stretch = tl.where(share == 0, 0, share * offset * 0.5 / points)
            tl.store(grad_reference + 2, tl.sum(stretch, 1), live)
