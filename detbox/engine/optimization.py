"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detbox.engine.layer_decay import blocks_above
from detbox.errors import SettingError
from detbox.registry import OPTIMIZERS, SCHEDULES

BACKBONE_SLOWER = {"backbone": 0.1}
Factor = Callable[[int], float]
"""step -> factor on every learning rate"""


@dataclass(frozen=True)
class Optimization:
    """What `configure_optimizers` needs, made from the configuration.

    Args:
        optimizer: module -> optimizer.
        schedule: (total steps, steps per epoch) -> factor by step.
    """

    optimizer: Callable[[nn.Module], Optimizer]
    schedule: Callable[[int, int], Factor]

    def __call__(self, module: nn.Module, total: int, per_epoch: int) -> dict[str, Any]:
        """Optimizer and per-step scheduler in Lightning's form."""
        optimizer = self.optimizer(module)
        scheduler = LambdaLR(optimizer, self.schedule(total, per_epoch))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"},
        }


@OPTIMIZERS.register("adamw")
def adamw(
    module: nn.Module,
    *,
    lr: float = 1e-4,
    weight_decay: float = 1e-4,
    betas: tuple[float, ...] = (0.9, 0.999),
    lr_factors: dict[str, float] = BACKBONE_SLOWER,
    layer_decay: float = 1.0,
) -> AdamW:
    """AdamW with one group per learning rate; weight decay on everything (DINO, app. D).

    Args:
        module: its trainable parameters are optimized.
        lr: learning rate.
        weight_decay: also on norms, biases and embeddings, as the official recipe.
        betas: decay of the first and second moment.
        lr_factors: regular expression found in a parameter's name -> factor on `lr`; first hit
            wins.
        layer_decay: factor on the backbone for each block from its end down, 0.8 say, beside the
            backbone's own of `lr_factors`; for ViT, Swin and ConvNeXt.

    Raises:
        ValueError: a given pattern is found in no parameter's name, a negative factor, or a decay
            that does not fit.
    """
    names = [name for name, _ in module.named_parameters()]
    for pattern, factor in lr_factors.items():
        if factor < 0:
            raise SettingError(f"optimizer.lr_factors.{pattern}={factor} is negative; try 0.1")
        if pattern not in BACKBONE_SLOWER and not any(re.search(pattern, name) for name in names):
            raise SettingError(
                f"optimizer.lr_factors: {pattern!r} is found in no parameter's name; "
                f"names look like {', '.join(names[:: max(1, len(names) // 4)])}"
            )
    groups = parameter_groups(module, lr, lr_factors, layer_decay)
    return AdamW(groups, lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay)


def parameter_groups(
    module: nn.Module, lr: float, factors: Mapping[str, float], layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate, each group with its parameters' names.

    Raises:
        ValueError: `layer_decay` is outside (0, 1], or the backbone has no row of blocks.
    """
    patterns = {"": 1.0, **factors}
    above = _blocks_above(module, layer_decay)
    members: dict[tuple[str, int], dict[str, nn.Parameter]] = {(each, 0): {} for each in patterns}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            hit = next((pattern for pattern in factors if re.search(pattern, name)), "")
            members.setdefault((hit, above.get(name, 0)), {})[name] = parameter
    return [
        {
            "params": list(chosen.values()),
            "parameter_names": list(chosen),
            "lr": lr * patterns[pattern] * layer_decay**depth,
            "name": _group_name(pattern, depth),
        }
        for (pattern, depth), chosen in members.items()
        if chosen
    ]


def _blocks_above(module: nn.Module, layer_decay: float) -> dict[str, int]:
    if not 0 < layer_decay <= 1:
        raise SettingError(
            f"optimizer.layer_decay={layer_decay} is outside (0, 1]; try 0.8, or 1 for none"
        )
    if layer_decay == 1:
        return {}
    return blocks_above(module)


def _group_name(pattern: str, depth: int) -> str:
    name = re.sub(r"\W+", "_", pattern).strip("_") or "base"
    return f"{name}_{depth}" if depth else name


@SCHEDULES.register("step")
def step(
    total: int,
    per_epoch: int,
    *,
    drops: tuple[float, ...] = (0.92,),
    gamma: float = 0.1,
    warmup_steps: int = 0,
) -> Factor:
    """Constant, times `gamma` from each drop on.

    Args:
        total: steps of the whole run.
        per_epoch: steps of an epoch.
        drops: shares of the run, each taken at the start of the nearest epoch: 0.92 of 12 epochs
            is epoch 11, counted from 0. Where that would be the run's start or end, as in a run of
            one epoch, at that share of the steps.
        gamma: factor at each drop.
        warmup_steps: of linear warm-up.

    Raises:
        SettingError: a share is outside (0, 1).
    """
    if wrong := [share for share in drops if not 0 < share < 1]:
        raise SettingError(
            f"schedule.drops are shares of the run, between 0 and 1, got {wrong[0]}; for epoch 11 "
            "of 12 it is schedule.drops=[0.92]"
        )
    steps = [_drop_step(share, total, per_epoch) for share in drops]

    def factor(index: int) -> float:
        return _warmup(index, warmup_steps) * gamma ** sum(index >= each for each in steps)

    return factor


def _drop_step(share: float, total: int, per_epoch: int) -> int:
    boundary = math.floor(share * total / per_epoch + 0.5) * per_epoch
    return boundary if 0 < boundary < total else round(share * total)


@SCHEDULES.register("cosine")
def cosine(
    total: int, per_epoch: int, *, warmup_steps: int = 0, final_factor: float = 0.0
) -> Factor:
    """Linear warm-up, then half a cosine to `final_factor` (Loshchilov & Hutter, ICLR 2017)."""

    def factor(index: int) -> float:
        progress = (index - warmup_steps) / max(1, total - warmup_steps)
        wave = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return _warmup(index, warmup_steps) * (final_factor + (1 - final_factor) * wave)

    return factor


def _warmup(index: int, steps: int) -> float:
    return min(1.0, (index + 1) / (steps + 1))
