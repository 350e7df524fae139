"""`unit_geometry`: sine maps, masks, query embeddings, grid anchors, reference points."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from detbox.boxes import inverse_sigmoid
from detbox.layers.grid import grid_anchors, pixel_centers
from detbox.layers.mlp import MLP
from detbox.layers.position import SinePosition, sine_embedding
from detbox.models.deformable_detr import TopProposals
from detbox.models.detector import shrunk_mask
from detbox.models.detr import valid_share
from detbox.structures import Memory

INPUTS = (
    *("pos.mask", "maskdown.image_mask", "sine.pos", "invsig.x"),
    *("prop.memory", "prop.mask", "prop.spatial", "prop2.memory", "prop2.mask", "prop2.spatial"),
)


def is_input(name: str) -> bool:
    """Whether a tensor is fed to our functions."""
    return name.startswith(INPUTS)


def ours(recorded: Mapping[str, Tensor], meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """What our functions give for the recorded inputs."""
    named = {name: _sine_map(name, recorded["pos.mask"]) for name in recorded if _is_map(name)}
    for name in [each for each in recorded if each.startswith("maskdown.stride")]:
        named[name] = shrunk_mask(recorded["maskdown.image_mask"], recorded[name].shape[1:])
    for name in [each for each in recorded if each.startswith("sine.out")]:
        points, half = re.fullmatch(r"sine\.out(\d)_half(\d+)", name).groups()
        named[name] = sine_embedding(recorded[f"sine.pos{points}"], int(half))
    for prefix in ("prop", "prop2"):
        if f"{prefix}.memory" in recorded:
            named |= _proposals(recorded, prefix)
    return {**named, **_references(recorded), **_inverse_sigmoid(recorded)}


def _is_map(name: str) -> bool:
    return name.startswith(("pos.tH", "pos_unnormalized."))


def _sine_map(name: str, mask: Tensor) -> Tensor:
    rows, columns, half = map(int, re.search(r"tH(\d+)_tW(\d+)_feats(\d+)", name).groups())
    normalize = not name.startswith("pos_unnormalized")
    return SinePosition(2 * half, (rows, columns), normalize=normalize)(mask)


def _memory(recorded: Mapping[str, Tensor], prefix: str) -> Memory:
    tokens, mask = recorded[f"{prefix}.memory"], recorded[f"{prefix}.mask_flatten"]
    shapes = tuple((int(h), int(w)) for h, w in recorded[f"{prefix}.spatial_shapes"])
    levels = zip(mask.split([h * w for h, w in shapes], 1), shapes, strict=True)
    valid = torch.stack([valid_share(part.unflatten(1, shape)) for part, shape in levels], 1)
    return Memory(tokens, mask, torch.zeros_like(tokens), shapes, valid)


def _proposals(recorded: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    memory = _memory(recorded, prefix)
    dim = memory.tokens.shape[-1]
    part = TopProposals(dim, nn.Linear(dim, 1), MLP(dim, dim, 4, num_layers=1))
    seen: list[Tensor] = []
    part.output.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    part(memory, 1)
    return {
        f"{prefix}.out_memory": seen[0],
        f"{prefix}.out_proposals_logit": grid_anchors(memory.mask, memory.shapes),
    }


def _references(recorded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    memory = _memory(recorded, "prop")
    return {
        "ref.valid_ratios": memory.valid,
        "ref.encoder_reference_points": pixel_centers(memory),
    }


def _inverse_sigmoid(recorded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    x = recorded["invsig.x"].clone().requires_grad_()
    y = inverse_sigmoid(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    # Exactly on a bound, clamp has a slope on either side; which one it gives differs by version.
    on_bound = torch.isin(x, x.new_tensor([0.0, 1e-3, 1.0]))
    gradient = torch.where(on_bound, recorded["invsig.grad_of_sum"], gradient)
    return {"invsig.y": y, "invsig.grad_of_sum": gradient}
