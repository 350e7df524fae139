"""Small matrices that learn beside frozen layers (LoRA), by peft."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from detbox.engine.adapter import Adapter
from detbox.engine.groups import norm_kinds
from detbox.errors import MachineError, SettingError
from detbox.layers.attention import Attention
from detbox.messages import counted, near, some
from detbox.ranges import Count, Positive
from detbox.registry import ADAPTERS

LAYERS = re.compile(r"(attention|feed_forward)\.(?!sampling_offsets|attention_weights)\w+$")
"""of attention and feed-forward blocks; where deformable attention looks stays as it is"""
HEADS = re.compile(r"\b(class_head|box_head|label_table)\b")
"""what depends on the classes, and boxes"""


@ADAPTERS.register("lora")
def lora(
    detector: nn.Module,
    *,
    rank: Count = 8,
    alpha: Positive = 16.0,
    parts: tuple[str, ...] = ("encoder", "decoder"),
    norms: bool = True,
) -> Adapter:
    """Let adapters, heads and label tables learn and nothing else (Hu et al., ICLR 2022).

    Args:
        detector: changed in place; what was frozen before stays so, without adapters.
        rank: of an adapter.
        alpha: an adapter's output counts `alpha / rank` times.
        parts: modules whose attention and feed-forward layers get adapters.
        norms: whether the norms of these parts learn too.

    Raises:
        SettingError: a part is unknown, or has no such layer that could learn.
        MachineError: peft is not installed.
    """
    weights = dict.fromkeys(name for part in parts for name in _weights(detector, part))
    if not weights:
        raise SettingError("adapter.parts is empty; leave out adapter=lora, or name parts")
    learn = [*_heads(detector), *(_norms(detector, parts) if norms else ())]
    _inject(detector, list(weights), rank, alpha)
    for parameter in learn:
        parameter.requires_grad_(True)
    also = "heads and norms" if norms else "heads"
    told = f"adapters of rank {rank} beside {counted(len(weights), 'weight')} of {some(parts)}"
    return Adapter(alpha / rank, f"{told}; {also} learn too")


def _weights(detector: nn.Module, part: str) -> list[str]:
    """Names of the matrices of a part that get an adapter."""
    modules = dict(detector.named_modules())
    if not part or part not in modules:
        parts = [each for each, _ in detector.named_children()]
        raise SettingError(f"adapter.parts: the detector has no part {part!r}{near(part, parts)}")
    found = []
    for name, module in modules[part].named_modules(prefix=part):
        if isinstance(module, Attention) and module.in_proj_weight.requires_grad:
            found.append(f"{name}.in_proj_weight")
        if isinstance(module, nn.Linear) and LAYERS.search(name) and module.weight.requires_grad:
            found.append(f"{name}.weight")
    if not found:
        raise SettingError(
            f"adapter.parts: {part} has no attention or feed-forward layer that could learn; "
            "leave it out, or out of freeze"
        )
    return found


def _heads(detector: nn.Module) -> Iterator[nn.Parameter]:
    for name, parameter in detector.named_parameters():
        if HEADS.search(name) and parameter.requires_grad:
            yield parameter


def _norms(detector: nn.Module, parts: tuple[str, ...]) -> Iterator[nn.Parameter]:
    for module in (each for part in parts for each in detector.get_submodule(part).modules()):
        if isinstance(module, norm_kinds()):
            yield from (each for each in module.parameters() if each.requires_grad)


def _inject(detector: nn.Module, weights: list[str], rank: int, alpha: float) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MachineError(
            "adapter=lora needs the package peft, which is not installed; run "
            "pip install 'detbox[lora]'"
        ) from error
    joint = [name for name in weights if name.endswith(".in_proj_weight")]
    settings: dict[str, Any] = {
        "r": rank,
        "lora_alpha": alpha,  # peft declares a whole number, and takes any
        "target_modules": [n.removesuffix(".weight") for n in weights if n not in joint],
        "target_parameters": joint,
    }
    attentions = [detector.get_submodule(name.rpartition(".")[0]) for name in joint]
    inject_adapter_in_model(LoraConfig(**settings), detector)
    for each in attentions:
        # Every step of peft's takes it away and appends it: an average by order would mix them.
        each.register_parameter("in_proj_weight", each._parameters.pop("in_proj_weight"))
