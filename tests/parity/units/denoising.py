"""`unit_cdn`: contrastive denoising queries of nine scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detbox.models.dino import ContrastiveDenoiser
from detbox.structures import Queries, QueryGroup
from parity.observe import given_draws
from parity.replay import EMPTY_SLOTS, below, targets_of


def is_input(name: str) -> bool:
    """Whether a tensor is fed to our denoiser."""
    return name.split(".")[1] in ("draw", "label_enc", "target")


def ours(recorded: Mapping[str, Tensor], meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """What our denoiser gives for each scenario's objects and draws."""
    named: dict[str, Tensor] = {}
    for scenario in sorted({name.split(".")[0] for name in recorded}):
        made = _denoised(below(recorded, f"{scenario}."), meta["cdn"][scenario])
        named |= {f"{scenario}.{name}": value for name, value in made.items()}
    return named


def _denoised(recorded: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    denoiser = ContrastiveDenoiser(
        settings["num_classes"],
        settings["hidden_dim"],
        settings["dn_number_config"],
        settings["label_noise_ratio"],
        settings["box_noise_scale"],
    )
    table = recorded["label_enc"]
    denoiser.load_state_dict({"label_table.weight": table})
    targets = targets_of(recorded, "target.")
    count = settings["num_queries"]
    blank = torch.zeros(len(targets.counts), count, settings["hidden_dim"])
    matching = Queries(blank, blank[..., :4], None, None, (QueryGroup("match", count),))
    with given_draws(denoiser, below(recorded, "draw.")):
        queries = denoiser(matching, targets)
    start = 0 if any(targets.counts) else EMPTY_SLOTS
    content, anchors = queries.content[:, start:-count], queries.anchors[:, start:-count]
    return {
        "input_query_label": content,
        "input_query_bbox": anchors,
        "attn_mask": queries.blocked[start:, start:],
        "slot_label": _labels(content, table),
        "slot_box_cxcywh_after_inv_sigmoid_undo": anchors.sigmoid(),
    }


def _labels(content: Tensor, table: Tensor) -> Tensor:
    """(B, P, C) -> (B, P), the row of the table that a slot holds; -1 where it holds zeros."""
    rows = (content[:, :, None] == table).all(-1).long()
    return torch.where((content == 0).all(-1), -1, rows.argmax(-1))
