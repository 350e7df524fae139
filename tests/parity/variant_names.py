"""What our modules did, under the names of the family's recordings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detbox.layers.grid import grid_anchors
from detbox.models.detector import Detector
from detbox.official.layouts import official_names
from detbox.structures import ENCODER, PredictionSet
from parity.full_names import maps
from parity.intermediates import ranked
from parity.replay import Run, present

TIE = 1e-5
"""scores that are nearer than this may change places"""


def initial(detector: Detector) -> dict[str, Tensor]:
    """`init/*`: values right after construction."""
    own, named = detector.state_dict(), {}
    for name, aliases in official_names(detector).items():
        for alias in aliases:
            if place := re.fullmatch(r"(bbox_embed\.\d+)\.layers\.2\.bias", alias):
                named[f"init/{place[1]}.last_bias"] = own[name].clone()
            elif re.fullmatch(r"class_embed(\.0)?\.bias", alias):
                named["init/class_embed_bias"] = own[name].clone()
            elif alias == "transformer.encoder.layers.0.self_attn.sampling_offsets.bias":
                named["init/sampling_offsets_bias"] = own[name].clone()
    return named


def outputs(played: Run) -> dict[str, Tensor]:
    """`out/*` and, where queries were denoised, `dn/*`."""
    groups = {"match": "out/pred_{}", "denoise": "dn/output_known_{}"}
    named = {}
    for group, name in groups.items():
        if sets := [each for each in _by_layer(played) if each.origin.group == group]:
            named[name.format("logits")] = torch.stack([each.logits for each in sets])
            named[name.format("boxes")] = torch.stack([each.boxes for each in sets])
    for each in played.outputs.auxiliary:
        if each.origin == ENCODER:
            named |= {"out/enc_logits": each.logits, "out/enc_boxes": each.boxes}
    return named | (_denoising(played) if len(played.queries.groups) > 1 else {})


def middle(played: Run, recorded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`mid/*` and the masks of the levels."""
    starts = played.queries.anchors
    moved = [each.places for each in played.seen.outputs("decoder.refine")]
    named = {
        **maps(played),
        "mid/hs": torch.stack(played.seen.outputs("decoder.norm")),
        "mid/init_reference": starts.sigmoid(),
        "mid/reference_points": starts.sigmoid(),
        "mid/inter_references": torch.stack([each.sigmoid() for each in moved]),
    }
    if "mid/references" in recorded:
        used = [starts, *moved[:-1]]
        named["mid/references"] = torch.stack([each.sigmoid() for each in used])
    named |= {f"in/mask{i}": call.inputs[0] for i, call in enumerate(played.seen["position"])}
    return named | (_proposals(played, recorded) if "mid/topk_index" in recorded else {})


def without_gradient(played: Run) -> dict[str, Tensor]:
    """How many parameters the backward pass did not reach."""
    parameters = [each for each in played.detector.parameters() if each.requires_grad]
    return {"grad_none": torch.tensor(sum(each.grad is None for each in parameters))}


def official(name: str, meta: Mapping[str, Any]) -> str:
    """DINO's name of a quantity as the older recordings have it."""
    name = name.replace("_interm", "_enc").replace("match/interm", "match/enc")
    name = re.sub(r"/(loss|class)_(\w+?)_dn(_\d+)?$", r"/tgt_\1_\2\3", name)
    if "loss_class" in meta["weight_dict"]:
        name = re.sub(r"/loss_ce(_\d+)?$", r"/loss_class\1", name)
    return name


def laid_out(ours: Tensor, recorded: Tensor) -> Tensor:
    """Ours in the recorded order of dimensions: images second, a map, or one for all images."""
    if ours.ndim == recorded.ndim + 1:
        return ours[0]
    if ours.ndim + 1 == recorded.ndim:
        return ours.mT.unflatten(-1, recorded.shape[-2:])
    swapped = ours.shape != recorded.shape and ours.ndim == 3
    return ours.transpose(0, 1) if swapped else ours


def _by_layer(played: Run) -> list[PredictionSet]:
    sets = [*played.outputs.auxiliary, played.outputs.prediction]
    return [each for each in sets if each.origin != ENCODER]


def _proposals(played: Run, recorded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    logits = played.seen["query_source.proposals.class_head"][0].output
    memory = played.memory
    return {
        "mid/topk_index": ranked(
            present(played.found), recorded["mid/topk_index"], logits[..., 0], TIE
        ),
        "mid/enc_proposal_invalid": grid_anchors(memory.mask, memory.shapes).isinf().any(-1),
    }


def _denoising(played: Run) -> dict[str, Tensor]:
    queries, targets = played.queries, played.targets
    group = queries.groups[0]
    return {
        "dn/input_query_label": _before_patterns(played),
        "dn/input_query_bbox": queries.anchors,
        "dn/attn_mask": present(queries.blocked),
        "dn/known_labels": targets.labels[group.matches.target],
        "dn/known_boxes": targets.boxes[group.matches.target],
        "dn/known_indice": group.matches.target,
        "dn/batch_idx": group.matches.image[: sum(targets.counts)],
        "dn/map_known_indice": group.matches.query,
        "dn/pad_size": torch.tensor(group.size),
    }


def _before_patterns(played: Run) -> Tensor:
    """What queries start from without patterns, which the official code adds after recording."""
    content = played.queries.content
    patterns = getattr(played.detector.query_source, "patterns", None)
    if patterns is None:
        return content
    count = played.queries.groups[-1].size // patterns.num_embeddings
    added = patterns.weight.repeat_interleave(count, 0)
    return torch.cat((content[:, : -len(added)], content[:, -len(added) :] - added), 1)
