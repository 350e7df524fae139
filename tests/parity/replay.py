"""Run our detector on recorded inputs, random draws and, where asked for, selected tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detbox.models.detector import Detector
from detbox.structures import ImageBatch, Memory, Outputs, PredictionSet, Queries, Targets
from parity.observe import Observation, chosen_tokens, given_draws, watched

EMPTY_SLOTS = 2
"""denoising slots that our images keep where no image has objects; the official code has none"""
EMPTY_NOTE = (
    "no image has objects: the 2 empty slots that each of our images keeps, so that the graph "
    "never changes, were left out, and their terms and gradients counted as they are: zero"
)


@dataclass
class Run:
    """One forward pass of ours and what was seen on the way."""

    detector: Detector
    targets: Targets | None
    outputs: Outputs
    seen: Observation
    found: Tensor | None
    """(B, Q) tokens that our query selection chose, where there is one"""
    index: Tensor | None
    """(B, Q) tokens that the pass went on with"""

    @property
    def skipped(self) -> int:
        """Leading queries that the official code does not have."""
        denoised = self.targets is not None
        return EMPTY_SLOTS if denoised and not any(self.targets.counts) else 0

    @property
    def queries(self) -> Queries:
        """What the decoder started from."""
        return self.seen["decoder"][0].inputs[0]

    @property
    def memory(self) -> Memory:
        """What the decoder read."""
        return self.seen["decoder"][0].inputs[1]

    @property
    def last_layer(self) -> int:
        """Index of the last decoder layer."""
        layers = self.detector.decoder.layers
        assert isinstance(layers, nn.ModuleList)
        return len(layers) - 1

    def place_of(self, predictions: PredictionSet) -> tuple[str, bool]:
        """`interm` or `layer.2`, and whether it is the denoising part."""
        layer, group = predictions.origin
        return ("interm", False) if layer is None else (f"layer.{layer}", group == "denoise")


def run(
    detector: Detector,
    images: ImageBatch,
    targets: Targets | None = None,
    draws: Mapping[str, Tensor] | None = None,
    index: Tensor | None = None,
) -> Run:
    """One forward pass on recorded inputs.

    Args:
        detector: in the mode that the recording was made in.
        images: pixels and mask.
        targets: objects to denoise.
        draws: the random numbers of the denoising, under their recorded names.
        index: (B, Q) tokens to select instead of the best.
    """
    with (
        watched(detector) as seen,
        chosen_tokens(detector, index) as found,
        given_draws(detector.denoiser, draws or {}),
    ):
        outputs = detector(images, targets)
    own = found[0] if found else None
    return Run(detector, targets, outputs, seen, own, own if index is None else index)


def present(tensor: Tensor | None) -> Tensor:
    """A tensor that a run has: a gradient after its backward pass, indices that it selected."""
    assert tensor is not None
    return tensor


def targets_of(recorded: Mapping[str, Tensor], prefix: str, separator: str = ".") -> Targets:
    """The recorded objects of a batch, images one after the other."""
    labels: list[Tensor] = []
    boxes: list[Tensor] = []
    while (key := f"{prefix}{len(labels)}{separator}") + "labels" in recorded:
        labels.append(recorded[f"{key}labels"])
        boxes.append(recorded[f"{key}boxes"])
    return Targets(torch.cat(labels), torch.cat(boxes), tuple(len(each) for each in labels))


def below(recorded: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in recorded.items()
        if name.startswith(prefix)
    }


def predictions(played: Run) -> dict[str, Tensor]:
    """`out.*` and `out_dn.*`."""
    named = {}
    for each in played.outputs.all:
        place, denoised = played.place_of(each)
        start = played.skipped if denoised else 0
        prefix = f"out_dn.{place}" if denoised else f"out.{place}"
        named[f"{prefix}.pred_logits"] = each.logits[:, start:]
        named[f"{prefix}.pred_boxes"] = each.boxes[:, start:]
    return named


def denoising(played: Run) -> dict[str, Tensor]:
    """`dn.*`: the denoising queries, their mask, how many slots and groups there are."""
    assert played.targets is not None
    group, start = played.queries.groups[0], played.skipped
    return {
        "dn.input_query_label": played.queries.content[:, start : group.size],
        "dn.input_query_bbox": played.queries.anchors[:, start : group.size],
        "dn.attn_mask": played.queries.blocked[start:, start:],
        "dn.pad_size": torch.tensor(group.size - start),
        "dn.num_dn_group": torch.tensor(played.detector.denoiser.num_groups(played.targets)),
    }
