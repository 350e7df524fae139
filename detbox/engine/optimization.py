"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detbox.engine.groups import NO_PATTERNS, WeightDecay, check_patterns, parameter_groups
from detbox.errors import SettingError
from detbox.ranges import NonNegative, Positive, Share, ShareAboveNone, ShareBelowOne, Whole
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
    lr: Positive = 1e-4,
    weight_decay: NonNegative = 1e-4,
    betas: tuple[ShareBelowOne, ...] = (0.9, 0.999),
    lr_factors: dict[str, NonNegative] = BACKBONE_SLOWER,
    layer_decay: ShareAboveNone = 1.0,
    weight_decays: dict[str, NonNegative] = NO_PATTERNS,
    decay_norms: bool = True,
    decay_biases: bool = True,
) -> AdamW:
    """AdamW with one group per rate and weight decay, which is on everything (DINO, app. D).

    Args:
        module: its trainable parameters are optimized.
        lr: learning rate.
        weight_decay: also on norms, biases and embeddings, as in DINO's recipe, unless the
            settings below say otherwise.
        betas: decay of the first and second moment.
        lr_factors: regular expression found in a parameter's name -> factor on `lr`; first hit
            wins.
        layer_decay: factor on the backbone for each layer from its end down, 0.8 say, beside the
            backbone's own of `lr_factors`; for backbones of timm.
        weight_decays: regular expression found in a parameter's name -> its weight decay; first
            hit wins.
        decay_norms: False: none on norms, as in ViTDet's recipe.
        decay_biases: False: none on biases, as in RT-DETR's, beside the norms.

    Raises:
        SettingError: a given pattern is found in no parameter's name, a negative number, or a
            decay that does not fit.
    """
    check_patterns("optimizer.lr_factors", lr_factors, module, known=BACKBONE_SLOWER)
    check_patterns("optimizer.weight_decays", weight_decays, module, known=NO_PATTERNS)
    decay = WeightDecay(weight_decay, weight_decays, decay_norms, decay_biases)
    groups = parameter_groups(module, lr, lr_factors, layer_decay, decay)
    fused = True if _is_on_gpu(module) else None
    optimizer = AdamW(groups, lr, (betas[0], betas[1]), weight_decay=weight_decay, fused=fused)
    # Else Lightning would not clip: fp16's scale is taken out of the gradients before that.
    optimizer._step_supports_amp_scaling = False
    return optimizer


def _is_on_gpu(module: nn.Module) -> bool:
    """Where torch's fused AdamW can leave out a step on the device's own word."""
    return all(parameter.is_cuda for parameter in module.parameters())


@SCHEDULES.register("step")
def step(
    total: int,
    per_epoch: int,
    *,
    drops: tuple[float, ...] = (0.92,),
    gamma: NonNegative = 0.1,
    warmup_steps: Whole = 0,
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
    total: int, per_epoch: int, *, warmup_steps: Whole = 0, final_factor: Share = 0.0
) -> Factor:
    """Linear warm-up, then half a cosine to `final_factor` (Loshchilov & Hutter, ICLR 2017)."""

    def factor(index: int) -> float:
        progress = (index - warmup_steps) / max(1, total - warmup_steps)
        wave = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return _warmup(index, warmup_steps) * (final_factor + (1 - final_factor) * wave)

    return factor


def _warmup(index: int, steps: int) -> float:
    return min(1.0, (index + 1) / (steps + 1))
