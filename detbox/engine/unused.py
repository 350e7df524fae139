"""Parameters of a backbone that no map which is read depends on, as HRNet's last fusing layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from detbox.messages import counted, some
from detbox.models.detector import Detector

SIDE = 64
"""of a picture that is large enough to find out, in pixels; more where maps are coarser"""


def freeze_unused(detector: Detector) -> str | None:
    """Freeze what gets no gradient, so that processes need not look for it in every step.

    Always, with one process too: what an optimizer has a state of does not depend on how many
    train.

    Returns:
        What was frozen, in a line; None: nothing.
    """
    left = unused(detector)
    for parameter in left.values():
        parameter.requires_grad_(False)
    if not left:
        return None
    numbers = counted(sum(each.numel() for each in left.values()), "parameter")
    layers = [f"backbone.{each}" for each in _topmost(detector.backbone, left)]
    return (
        f"{numbers} of the backbone reach no map that is read, and are frozen: "
        f"{some(layers)}; other backbone.strides may need them"
    )


def unused(detector: Detector) -> dict[str, nn.Parameter]:
    """Parameters of the backbone that would learn and never get a gradient, by name.

    The graph of one small picture is walked; nothing is computed backwards.
    """
    backbone = detector.backbone
    learns = {name: each for name, each in backbone.named_parameters() if each.requires_grad}
    if not learns:
        return {}
    states = {part: part.training for part in detector.modules()}
    detector.eval()  # statistics of batch norms stay as they are, and nothing is drawn
    try:
        side = max(SIDE, 2 * detector.least_side)
        side += -side % detector.size_divisor
        like = next(iter(learns.values()))
        with torch.enable_grad():
            # Two, or group norms refuse a map of one cell.
            maps = detector.neck(backbone(like.new_zeros(2, 3, side, side)))
    finally:
        for part, training in states.items():
            part.training = training
    reached = {id(each) for each in _leaves(maps)}
    return {name: each for name, each in learns.items() if id(each) not in reached}


def _leaves(tensors: Collection[Tensor]) -> Iterator[Tensor]:
    """The tensors that a graph starts from."""
    waiting = [each.grad_fn for each in tensors if each.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            yield node.variable
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)


def _topmost(module: nn.Module, names: Collection[str], prefix: str = "") -> list[str]:
    """Modules of which all parameters are among the names, and the other parameters."""
    found: list[str] = []
    for name, _ in module.named_parameters(prefix, recurse=False):
        found += [name] if name in names else []
    for name, child in module.named_children():
        path = f"{prefix}.{name}" if prefix else name
        own = [each for each, _ in child.named_parameters(path)]
        if own and all(each in names for each in own):
            found.append(path)
        elif any(each in names for each in own):
            found += _topmost(child, names, path)
    return found
