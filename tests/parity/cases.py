"""Replay one recorded case of a small model: all of its tensors under their recorded names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from detbox.models.detector import Detector
from detbox.official.layouts import official_names
from detbox.official.state import load_official
from detbox.postprocess import Postprocess
from detbox.structures import ImageBatch, Targets
from parity import losses
from parity.feeder import feed
from parity.intermediates import intermediates, ranked, token_scores
from parity.recipe import criterion_from, fed_detector
from parity.replay import EMPTY_NOTE, Run, below, denoising, predictions, present, run, targets_of
from parity.report import Report
from parity.ties import aligned_detections, aligned_matches

TIE = 1e-5
"""scores that are nearer than this may change places"""
INPUTS = ("in.features.", "in.image_mask", "target.", "dn.draw.", "post.target_sizes_hw")


def check_case(file: Path, report: Report) -> None:
    """Replay `<case>.eval` or `<case>.train_<variant>` and compare every tensor in it."""
    recorded = load_file(file)
    case, _, variant = file.name.removesuffix(".safetensors").partition(".")
    variant = variant.removeprefix("train_")
    meta = json.loads((file.parent / f"{case}.meta.json").read_text())[variant]
    report.inputs += [name for name in recorded if name.startswith(INPUTS)]
    detector = _detector(file.parent / f"{case}.state_dict.safetensors", meta)
    detector.train(variant != "eval")
    features = _feed(detector, recorded)
    ours = _replay(detector, recorded, meta, report)
    if "losses" in meta:
        ours |= _backward(detector, ours.pop("total"), features)
    report.compare(recorded, ours)
    report.compare(*_scalars(meta, ours))


def _detector(weights: Path, meta: dict[str, Any]) -> Detector:
    half = meta["sine_embed_half_dim_used"]
    assert half == meta["hidden_dim"] // 2, f"box embedding with {half} frequencies"
    detector = fed_detector(meta["args"], meta["channels"], meta["strides"])
    load_official(detector, load_file(weights))
    return detector


def _feed(detector: Detector, recorded: dict[str, Tensor]) -> tuple[Tensor, ...]:
    features = below(recorded, "in.features.")
    maps = tuple(features[str(level)].requires_grad_() for level in range(len(features)))
    feed(detector, maps)
    return maps


def _replay(
    detector: Detector, recorded: dict[str, Tensor], meta: dict[str, Any], report: Report
) -> dict[str, Tensor]:
    mask = recorded["in.image_mask"]
    images = ImageBatch(torch.zeros(len(mask), 3, *mask.shape[1:]), mask)
    training = "losses" in meta
    targets = targets_of(recorded, "target.") if training else None
    played = run(detector, images, targets, below(recorded, "dn.draw."))
    report.note_if(bool(played.skipped), EMPTY_NOTE)
    ours = {**predictions(played), **intermediates(played)}
    index = recorded["mid.topk_indices"]
    ours["mid.topk_indices"] = ranked(present(played.found), index, token_scores(played), TIE)
    if "post.target_sizes_hw" in recorded:
        ours |= _post(played, recorded, meta["args"]["num_select"])
    if targets is not None:
        ours |= denoising(played) | _losses(played, targets, recorded, meta)
    return ours


def _post(played: Run, recorded: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    sizes = recorded["post.target_sizes_hw"]
    detections = Postprocess(count)(played.outputs.prediction, sizes)
    return aligned_detections(recorded, detections, "post.image.", TIE)


def _losses(
    played: Run, targets: Targets, recorded: dict[str, Tensor], meta: dict[str, Any]
) -> dict[str, Tensor]:
    criterion = criterion_from(meta["args"])
    pairs = criterion.match(played.outputs, targets)
    weighted = criterion(played.outputs, targets)
    ours = losses.terms(played, criterion, weighted) | losses.logged(played, targets, pairs)
    ours |= losses.absent(list(meta["losses"]), ours)
    named = {f"loss.{name}": value for name, value in ours.items()}
    total = torch.stack(list(weighted.values())).sum()
    found = losses.matches(played, criterion, targets, pairs)
    named |= aligned_matches(recorded, found)
    return {**named, "loss_total_weighted": total, "total": total}


def _backward(detector: Detector, total: Tensor, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
    total.backward()
    named = {f"grad_in.features.{level}": present(each.grad) for level, each in enumerate(features)}
    own = dict(detector.named_parameters())
    for name, official in official_names(detector).items():
        named |= {f"grad.{alias}": present(own[name].grad) for alias in official if name in own}
    return named


def _scalars(
    meta: dict[str, Any], ours: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Numbers of the meta file and ours: losses, and the norm of every gradient."""
    norms = {k: v for k, v in meta.get("grad_norms", {}).items() if v is not None}
    recorded = {f"meta.grad_norm.{name}": norm for name, norm in norms.items()}
    found = {f"meta.grad_norm.{name}": ours[f"grad.{name}"].norm() for name in norms}
    if "grad_total_norm_over_params" in meta:
        recorded["meta.grad_total_norm"] = meta["grad_total_norm_over_params"]
        found["meta.grad_total_norm"] = torch.stack(list(found.values())).norm()
    for part, size in (meta.get("dn_meta") or {}).items():
        recorded[f"meta.{part}"], found[f"meta.{part}"] = size, ours[f"dn.{part}"]
    losses_recorded = meta.get("losses", {})
    recorded |= {f"meta.{name}": value for name, value in losses_recorded.items()}
    found |= {f"meta.{name}": ours[f"loss.{name}"] for name in losses_recorded}
    return {name: torch.tensor(value) for name, value in recorded.items()}, found
