"""`mid.*`: what flows between our modules, under the names of the recordings."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from detbox.layers.grid import grid_anchors
from detbox.models.deformable_detr import gathered
from parity.replay import Run, present


def intermediates(played: Run) -> dict[str, Tensor]:
    """Every intermediate that a recording may hold."""
    return {**_masks(played), **_encoder(played), **_proposals(played), **_decoder(played)}


def ranked(ours: Tensor, recorded: Tensor, scores: Tensor, tie: float) -> Tensor:
    """Our ranking (B, Q) with tokens swapped for the recorded ones where their scores tie.

    Tokens of equal score, such as all padded ones, may come in any order; their contents are
    equal as well.

    Args:
        ours: (B, Q) token indices.
        recorded: (B, Q) token indices.
        scores: (B, S) our scores.
        tie: largest difference of scores that counts as equal.
    """
    gap = scores.gather(1, ours) - scores.gather(1, recorded)
    distinct = torch.tensor([len(set(row)) == len(row) for row in recorded.tolist()])
    return torch.where((gap.abs() <= tie) & distinct[:, None], recorded, ours)


def token_scores(played: Run) -> Tensor:
    """(B, S) best class logit of every token."""
    return played.seen["query_source.proposals.class_head"][0].output.amax(-1)


def _masks(played: Run) -> dict[str, Tensor]:
    calls = played.seen["position"]
    return {f"in.feature_mask.{level}": call.inputs[0] for level, call in enumerate(calls)}


def _encoder(played: Run) -> dict[str, Tensor]:
    maps = played.seen["neck"][0].output
    memory, references = played.seen["encoder.layers.0"][0].inputs
    sizes = torch.tensor(memory.shapes)
    tokens = sizes.prod(1)
    own = played.detector.encoder.layers
    assert isinstance(own, nn.ModuleList)
    layers = [played.seen[f"encoder.layers.{layer}"][0].output.tokens for layer in range(len(own))]
    return {
        **_numbered("mid.input_proj", maps),
        **_numbered("mid.encoder_layer", layers),
        "mid.src_flatten": memory.tokens,
        "mid.mask_flatten": memory.mask,
        "mid.pos_plus_level_embed_flatten": memory.position,
        "mid.valid_ratios": memory.valid,
        "mid.spatial_shapes": sizes,
        "mid.level_start_index": tokens.cumsum(0) - tokens,
        "mid.enc_reference_points": references,
    }


def _proposals(played: Run) -> dict[str, Tensor]:
    name = "query_source.proposals"
    tokens = played.seen[f"{name}.norm"][0].output
    anchors = grid_anchors(played.memory.mask, played.memory.shapes)
    return {
        "mid.two_stage_output_memory": tokens,
        "mid.two_stage_class_logits": played.seen[f"{name}.class_head"][0].output,
        # Ours reads the boxes of the selected tokens only; these are the same head's on all.
        "mid.two_stage_box_delta": played.detector.query_source.proposals.box_head(tokens),
        "mid.init_box_proposal": gathered(anchors, present(played.index)).sigmoid(),
    }


def _decoder(played: Run) -> dict[str, Tensor]:
    content, anchors = played.queries.content, played.queries.anchors
    moved = [anchors] + [each.places for each in played.seen.outputs("decoder.refine")]
    layers = [
        played.seen[f"decoder.layers.{layer}"][0].output for layer in range(played.last_layer + 1)
    ]
    named = {
        "mid.dec_tgt_in": content,
        "mid.dec_refpoints_unsigmoid_in": anchors,
        **_numbered("mid.dec_query_pos", played.seen.outputs("decoder.position")),
        **_numbered("mid.decoder_layer", layers),
        **_numbered("mid.dec_hs_normed", played.seen.outputs("decoder.norm")),
        **_numbered("mid.dec_references", [each.sigmoid() for each in moved]),
    }
    return {name: tensor[:, played.skipped :] for name, tensor in named.items()}


def _numbered(name: str, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{index}": tensor for index, tensor in enumerate(tensors)}
