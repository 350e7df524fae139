"""Parts that training leaves as they are."""

from __future__ import annotations

from torch import nn

ALL = -1
"""`frozen_stages` that freeze a whole backbone"""


def freeze(module: nn.Module, frozen: set[str], *, norms: bool) -> None:
    """Freeze these parameters and the batch norms they belong to, in place; all others learn.

    A frozen batch norm keeps its stored statistics and its scales, which become buffers. Frozen
    blocks drop no paths.

    Args:
        module: of any kind.
        frozen: names of its parameters.
        norms: freeze every batch norm.
    """
    from timm.layers import freeze_batch_norm_2d

    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.BatchNorm2d) and (norms or f"{name}.weight" in frozen):
            # timm starts the last norm of a residual block at 0, which frozen would stay dead.
            nn.init.ones_(part.weight)
            module.set_submodule(name, freeze_batch_norm_2d(part))
    for part in module.modules():
        learning = [parameter.requires_grad for parameter in part.parameters()]
        if learning and not any(learning):
            _keep_paths(part)


def _keep_paths(block: nn.Module) -> None:
    from timm.layers import DropPath

    for part in block.children():
        if isinstance(part, DropPath):
            part.drop_prob = 0.0


def names_up_to(module: nn.Module, *prefixes: str) -> set[str]:
    """Parameters up to the last below one of the prefixes, in the order of the forward pass."""
    names = [name for name, _ in module.named_parameters()]
    hits = (index for index, name in enumerate(names) if name.startswith(prefixes))
    return set(names[: max(hits, default=-1) + 1])


def way_to_thaw(module: nn.Module) -> str:
    """Settings under which all of a backbone learns; empty where it does."""
    weights = not all(parameter.requires_grad for parameter in module.parameters())
    scales = any(name.endswith(".weight") for name, _ in module.named_buffers())
    part = "stem=false" if getattr(module, "frozen_stem", False) else "stages=0"
    settings = {f"backbone.frozen_{part}": weights, "backbone.frozen_norm=false": scales}
    return " ".join(setting for setting, needed in settings.items() if needed)
