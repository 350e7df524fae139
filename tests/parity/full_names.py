"""Everything of a full-size pass under the names of its recording."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from detbox.criterion import Criterion
from detbox.layers.grid import grid_anchors
from detbox.official.layouts import official_names
from detbox.postprocess import Postprocess
from detbox.structures import Detections, Targets
from parity import losses
from parity.full_size import Recording
from parity.intermediates import intermediates, ranked, token_scores
from parity.recipe import criterion_from
from parity.replay import Run, denoising, predictions, present, targets_of
from parity.ties import aligned_detections

TIE = 5e-5
"""scores that are nearer than this may change places"""
SPARE = 20
"""detections below the cut that may take a place above it, where they tie"""


def ours(played: Run, recording: Recording) -> dict[str, Tensor]:
    """Every tensor that the recording may hold, gradients included."""
    recorded = recording.tensors
    targets = targets_of(recorded, "tgt/", "/")
    with torch.no_grad():
        named = _outputs(played, recorded) | maps(played) | _proposals(played, recorded)
    total, terms = losses_and_matches(played, targets, criterion_from(recording.settings))
    named |= terms
    named |= losses.absent([name for name in recorded if name.startswith("loss/")], named)
    if "post/0/scores" in recorded:
        count = recording.settings["num_select"]
        named |= detections(played, recorded, Postprocess(count + SPARE))
    if recording.training:
        named |= {name.replace("dn.", "dn/"): value for name, value in denoising(played).items()}
        named |= gradients(played, total, recorded)
    return {name: cut(name, named) for name in recorded if whole(name) in named}


def losses_of(played: Run, targets: Targets, criterion: Criterion) -> dict[str, Tensor]:
    """Unweighted and logged losses under official names, and `loss_total`."""
    pairs = criterion.match(played.outputs, targets)
    weighted = criterion(played.outputs, targets)
    terms = losses.terms(played, criterion, weighted) | losses.logged(played, targets, pairs)
    terms |= losses.matches(played, criterion, targets, pairs)
    return {**terms, "loss_total": torch.stack(list(weighted.values())).sum()}


def gradients(
    played: Run, total: Tensor, recorded: Mapping[str, Tensor], prefix: str = "grad"
) -> dict[str, Tensor]:
    """`grad/*`, the first values of each, and the norm of all gradients; runs backward."""
    total.backward()
    own = {k: v.grad for k, v in played.detector.named_parameters() if v.grad is not None}
    norms = torch.stack([each.norm() for each in own.values()])
    named = {f"{prefix}_global_norm": norms.norm(), f"{prefix}_count": torch.tensor(len(norms))}
    for name, aliases in official_names(played.detector).items():
        for alias in aliases if name in own else ():
            named[f"{prefix}_norm/{alias}"] = own[name].norm()
            if (key := f"{prefix}/{alias}") in recorded:
                stored = recorded[key]
                named[key] = own[name].flatten()[: stored.numel()].reshape(stored.shape)
    return named


def _outputs(played: Run, recorded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = predictions(played)
    layers = range(played.last_layer + 1)
    kept = recorded["out/layers"].tolist() if "out/layers" in recorded else list(layers)
    named = {
        "out/layers": torch.tensor(kept),
        "out/interm_logits": found["out.interm.pred_logits"],
        "out/interm_boxes": found["out.interm.pred_boxes"],
    }
    for part in ("out", "out_dn"):
        if f"{part}.layer.0.pred_boxes" in found:
            boxes = [found[f"{part}.layer.{layer}.pred_boxes"] for layer in layers]
            logits = [found[f"{part}.layer.{layer}.pred_logits"] for layer in kept]
            named |= {f"{part}/pred_boxes": torch.stack(boxes)}
            named |= {f"{part}/pred_logits": torch.stack(logits)}
    return named


def maps(played: Run) -> dict[str, Tensor]:
    """What flows from the backbone to the memory, level by level, and the last decoder state."""
    masks = [call.inputs[0] for call in played.seen["position"]]
    named = {
        "feat": played.seen["backbone"][0].output,
        "input_proj": played.seen["neck"][0].output,
        "mask": masks,
        "pos": played.seen.outputs("position"),
    }
    return {
        **{f"mid/{n}{i}": each for n, levels in named.items() for i, each in enumerate(levels)},
        "mid/memory": played.memory.tokens,
        "mid/hs_last": played.seen.outputs("decoder.norm")[-1],
    }


def _proposals(played: Run, recorded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = intermediates(played)
    logits = found["mid.two_stage_class_logits"]
    anchors = grid_anchors(played.memory.mask, played.memory.shapes)
    return {
        "mid/enc_class_max": logits.amax(-1),
        "mid/enc_class_argmax": _best_class(logits, recorded),
        "mid/topk_index": ranked(
            present(played.found), recorded["mid/topk_index"], token_scores(played), TIE
        ),
        "mid/enc_proposal_invalid": anchors.isinf().any(-1),
        "mid/init_box_proposal": found["mid.init_box_proposal"],
    }


def _best_class(logits: Tensor, recorded: Mapping[str, Tensor]) -> Tensor:
    """The best class of every token, or the recorded one where the two tie."""
    best = logits.argmax(-1, keepdim=True)
    if "mid/enc_class_argmax" not in recorded:
        return best[..., 0]
    theirs = recorded["mid/enc_class_argmax"].long()[..., None]
    tied = logits.gather(-1, best) - logits.gather(-1, theirs) <= TIE
    return torch.where(tied, theirs, best)[..., 0]


def losses_and_matches(
    played: Run, targets: Targets, criterion: Criterion
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted total; and `loss/*`, `match/*` and `loss_total` as the recordings call them."""
    found = losses_of(played, targets, criterion)
    named = {"loss_total": found.pop("loss_total")}
    for name, value in found.items():
        place = re.fullmatch(r"match\.(.*)\.image\.(\d+)\.(pred|tgt)_idx", name)
        if place:
            part = {"pred": "src", "tgt": "tgt"}[place[3]]
            named[f"match/{place[1].replace('.', '')}/img{place[2]}/{part}"] = value
        else:
            named[f"loss/{name}"] = value
    return named["loss_total"], named


def detections(
    played: Run, recorded: Mapping[str, Tensor], postprocess: Callable[..., list[Detections]]
) -> dict[str, Tensor]:
    """`post/*`, tied ones in the recorded order."""
    found = postprocess(played.outputs.prediction, recorded["in/target_sizes"])
    slashed = {name.replace("/", "."): value for name, value in recorded.items()}
    aligned = aligned_detections(slashed, found, "post.", TIE)
    return {name.replace(".", "/"): value for name, value in aligned.items()}


_PART = re.compile(r"_(first_last|first)(\d+)(ch|cls)$")


def whole(name: str) -> str:
    """The name without the part that it says."""
    return _PART.sub("", name)


def cut(name: str, named: Mapping[str, Tensor]) -> Tensor:
    """Our tensor in the part that the recording's name says: `_first8ch`, `_first_last4ch`."""
    tensor, part = named[whole(name)], _PART.search(name)
    if part is None:
        return tensor
    axis = 1 if "/feat" in name or "/pos" in name else -1
    first = tensor.narrow(axis, 0, int(part[2]))
    if part[1] == "first":
        return first
    last = tensor.narrow(axis, tensor.shape[axis] - int(part[2]), int(part[2]))
    return torch.cat((first, last), axis)
