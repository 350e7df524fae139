"""`unit_ms_deform_attn`: the sampling op, the attention module, and how it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detbox.layers.deformable_attention import DeformableAttention
from detbox.ops import ms_deform_attn
from detbox.structures import Memory
from parity.replay import below, present

CORE = ("value", "sampling_locations", "attention_weights")
INPUTS = (
    *(f"core.{dtype}.{part}" for dtype in ("f32", "f64") for part in (*CORE, "grad_out")),
    *("module.param", "module.spatial_shapes", "module.level_start_index", "module.padding_mask"),
    *(f"module.{dtype}.query" for dtype in ("f32", "f64")),
    *(f"module.{dtype}.input_flatten" for dtype in ("f32", "f64")),
    *(f"module.{dtype}.reference_points4" for dtype in ("f32", "f64")),
)


def is_input(name: str) -> bool:
    """Whether a tensor is fed to our functions."""
    return name.startswith(INPUTS)


def ours(recorded: Mapping[str, Tensor], meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """What our op and our module give for the recorded inputs."""
    shapes = [(int(h), int(w)) for h, w in recorded["module.spatial_shapes"]]
    named = fresh_modules(recorded)
    for dtype in ("f32", "f64"):
        if f"core.{dtype}.value" in recorded:
            named |= _core(below(recorded, f"core.{dtype}."), shapes, f"core.{dtype}.")
        if f"module.{dtype}.query" in recorded:
            named |= _module(recorded, tuple(shapes), dtype)
    return named


def fresh_modules(recorded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Modules as they start; the number of heads is in the name where it is another."""
    named: dict[str, Tensor] = {}
    for prefix in {name.split(".")[0] for name in recorded if name.startswith("module_fresh")}:
        heads = re.search(r"heads(\d+)$", prefix)
        module = _attention(recorded, int(heads[1]) if heads else None)
        named |= {f"{prefix}.{name}": value for name, value in module.state_dict().items()}
    return named


def _attention(recorded: Mapping[str, Tensor], num_heads: int | None = None) -> DeformableAttention:
    """A fresh module of the recorded sizes."""
    width = recorded["module.param.value_proj.weight"].shape[0]
    _, _, heads, levels, points, _ = recorded["core.f32.sampling_locations"].shape
    return DeformableAttention(width, levels, num_heads or heads, points)


def _core(
    recorded: Mapping[str, Tensor], shapes: list[tuple[int, int]], prefix: str
) -> dict[str, Tensor]:
    value, locations, weights = (recorded[part].clone().requires_grad_() for part in CORE)
    out = ms_deform_attn(value, shapes, locations, weights)
    out.backward(recorded["grad_out"])
    return {
        f"{prefix}out": out,
        f"{prefix}grad_value": present(value.grad),
        f"{prefix}grad_sampling_locations": present(locations.grad),
        f"{prefix}grad_attention_weights": present(weights.grad),
    }


def _module(
    recorded: Mapping[str, Tensor], shapes: tuple[tuple[int, int], ...], dtype: str
) -> dict[str, Tensor]:
    tokens = recorded[f"module.{dtype}.input_flatten"]
    query = recorded[f"module.{dtype}.query"]
    boxes = recorded[f"module.{dtype}.reference_points4"]
    module = _attention(recorded).to(query.dtype)
    module.load_state_dict(below(recorded, "module.param."))
    mask = recorded["module.padding_mask"]
    memory = Memory(tokens, mask, tokens, shapes, torch.ones(len(tokens), len(shapes), 2))
    return {
        f"module.{dtype}.out_ref2": module(query, boxes[..., :2], memory),
        f"module.{dtype}.out_ref4": module(query, boxes, memory),
    }
