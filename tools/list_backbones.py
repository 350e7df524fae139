"""The named backbones as a Markdown table: size, cost, strides, licence and how they are verified.

python tools/list_backbones.py --size 800 1333

Parameters are those of the backbone as its file configures it. One multiply-add counts as one
operation, as in `tools/benchmark_model.py`: convolutions, linear layers and matrix products of one
image, on the meta device. The licence is the one that timm, or else the authors, state for the
usual weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.models import get_pretrained_cfg
from torch.utils.flop_counter import FlopCounterMode

from detbox.build import compose
from detbox.registry import BACKBONES

FOLDER = Path(__file__).parents[1] / "conf" / "backbone"
ANY = ("timm", "coat", "mpvit")
"""names that stand for no model of their own"""
SAME_WEIGHTS = {"bit_r50": "resnetv2_50x1_bit.goog_in21k"}
"""what timm calls the weights of a backbone written here, where it is not our name"""
GOLDENS = ("resnet50", "swin_t", "convnext_t", "mpvit_small", "coat_lite_small", "bit_r50")
AUTHORS_LICENCES = {"mpvit": "GPL-3.0 or commercial"}
"""start of a name -> what the authors' repository states, where timm has no such weights"""
NAME_LISTS = ("swin_l", "convnext_xl", "mpvit_tiny", "coat_small")
"""whose tensors have the names and shapes of the official code, besides those of `GOLDENS`"""
PEERS = {
    **dict.fromkeys(("coat_tiny", "coat_mini", "coat_small", "coat_lite_tiny"), "timm"),
    **dict.fromkeys(("coat_lite_mini", "coat_lite_small", "bit_r50"), "timm"),
    **dict.fromkeys(("vit_s_dinov2", "vit_s_dinov3"), "timm"),
    **dict.fromkeys(("swin_t", "convnext_t"), "transformers"),
    "resnet50_dc5": "torchvision",
}
"""name -> the package whose model of the same weights gives the same maps"""


@dataclass(frozen=True)
class Row:
    """What a named backbone is."""

    name: str
    parameters: int
    operations: float
    """multiply-adds of one image"""
    strides: tuple[int, ...]
    licence: str
    verified: str

    def __str__(self) -> str:
        return (
            f"| `{self.name}` | {self.parameters / 1e6:.1f} M | {self.operations / 1e9:.0f} G | "
            f"{', '.join(map(str, self.strides))} | {self.licence} | {self.verified} |"
        )


def rows(height: int, width: int) -> Iterator[Row]:
    """One row for each file in the folder that names a model."""
    for name in sorted(path.stem for path in FOLDER.glob("*.yaml")):
        if name not in ANY:
            yield row(name, height, width)


def row(name: str, height: int, width: int) -> Row:
    """Build the backbone without weights and count one forward pass."""
    cfg = compose(f"backbone={name}").backbone
    with torch.device("meta"):
        backbone = BACKBONES.build(cfg).eval()
        pixels = torch.zeros(1, 3, height, width)
    parameters = sum(each.numel() for each in backbone.parameters())
    with FlopCounterMode(display=False) as counter:
        backbone.requires_grad_(False)(pixels)
    # The counter takes a multiply-add for two operations.
    operations = counter.get_total_flops() / 2
    weights = cfg.get("model", SAME_WEIGHTS.get(name, name))
    return Row(name, parameters, operations, backbone.strides, licence(weights), verified(name))


def licence(weights: str) -> str:
    """What timm states for weights of this name, or else their authors; a dash: nobody."""
    config = get_pretrained_cfg(weights, allow_unregistered=True)
    stated = AUTHORS_LICENCES.get(weights.partition("_")[0], "-")
    return (config.license if config else None) or stated


def verified(name: str) -> str:
    """The tests that the backbone passes, besides the properties that all of them have."""
    tests = {
        "recorded maps": name in GOLDENS,
        "name list": name in NAME_LISTS,
        f"{PEERS.get(name)}, same weights": name in PEERS,
    }
    return "; ".join(test for test, passed in tests.items() if passed) or "properties"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", nargs=2, type=int, default=(800, 1333), metavar=("H", "W"))
    height, width = parser.parse_args().size
    print(
        f"| name | parameters | multiply-adds, {height} x {width} | strides | licence | verified |"
    )
    print("|---|---|---|---|---|---|")
    for each in rows(height, width):
        print(each, flush=True)


if __name__ == "__main__":
    main()
