"""The same small detector twice: ours and the one of transformers, on the same weights and maps."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple

import peer_names
import torch
from parity import feeder
from peer_names import Rules, taken, their_names
from scenes import random_targets
from torch import Tensor, nn
from transformers import (
    ConditionalDetrConfig,
    ConditionalDetrForObjectDetection,
    DabDetrConfig,
    DabDetrForObjectDetection,
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    DetrConfig,
    DetrForObjectDetection,
    PreTrainedModel,
    ResNetConfig,
)
from transformers.modeling_outputs import BackboneOutput

import detbox
from detbox.models.detector import Detector
from detbox.registry import BACKBONES, MODELS, NECKS
from detbox.structures import ImageBatch, PredictionSet, Targets

CLASSES, QUERIES, LAYERS, WIDTH = 4, 7, 3, 32
CHANNELS = (10, 12)
"""of the maps of stride 8 and 16"""
TARGETS = random_targets(3, 2)
LAST = f"decoder{LAYERS - 1}/match"
DENSE = ("detr", "conditional_detr")


class Peer(NamedTuple):
    """A model of transformers and what it is here."""

    config: type
    model: type[PreTrainedModel]
    rules: Rules
    ours: dict[str, Any]
    theirs: dict[str, Any]
    num_maps: int = 1

    @property
    def neck(self) -> dict[str, Any]:
        """What stands between backbone and encoder."""
        if self.num_maps == 1:
            return {"name": "projection", "hidden_dim": WIDTH}
        return {"name": "channel_mapper", "hidden_dim": WIDTH, "num_levels": 3}


def _deformable(**theirs: Any) -> Peer:
    ours = {"two_stage": "two_stage" in theirs, "refine": "with_box_refine" in theirs}
    return Peer(
        DeformableDetrConfig,
        DeformableDetrForObjectDetection,
        peer_names.DEFORMABLE,
        {"name": "deformable_detr", **ours},
        {"num_feature_levels": 3, "two_stage_num_proposals": QUERIES, **theirs},
        num_maps=2,
    )


def _dab(patterns: int) -> Peer:
    return Peer(
        DabDetrConfig,
        DabDetrForObjectDetection,
        peer_names.DAB,
        {"name": "dab_detr", "num_patterns": patterns},
        {"num_patterns": patterns},
    )


PEERS = {
    "detr": Peer(DetrConfig, DetrForObjectDetection, peer_names.DETR, {"name": "detr"}, {}),
    "conditional_detr": Peer(
        ConditionalDetrConfig,
        ConditionalDetrForObjectDetection,
        peer_names.CONDITIONAL,
        {"name": "conditional_detr"},
        {},
    ),
    "dab_detr": _dab(0),
    "dab_detr_patterns": _dab(2),
    "deformable_detr": _deformable(),
    "deformable_detr_refine": _deformable(with_box_refine=True),
    "deformable_detr_two_stage": _deformable(with_box_refine=True, two_stage=True),
}


class Given(nn.Module):
    """A backbone of transformers that returns given maps."""

    def __init__(self, maps: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, pixels: Tensor) -> BackboneOutput:
        """The maps, whatever the picture."""
        maps: Any = self.maps  # annotated there as a tuple of one
        return BackboneOutput(feature_maps=maps)


class Pair(NamedTuple):
    """Two detectors that should predict the same for `images`."""

    ours: Detector
    theirs: PreTrainedModel
    images: ImageBatch
    unread: set[str]
    """tensors of the peer that none of ours was made from"""

    def predicted(self) -> dict[str, PredictionSet]:
        """Our prediction sets by their names."""
        with torch.no_grad():
            return {each.name: each for each in self.ours(self.images).all}

    def run_theirs(self, targets: Targets | None = None) -> Any:
        """What the peer gives for the images, with a loss where there are targets."""
        labels = None
        if targets is not None:
            own = (targets.of(image) for image in range(len(targets.counts)))
            labels = [{"class_labels": classes, "boxes": boxes} for classes, boxes in own]
        keep = (~self.images.mask).long()
        return self.theirs(pixel_values=self.images.pixels, pixel_mask=keep, labels=labels)


@cache
def composed(name: str) -> Any:
    """The published configuration of a peer's model here."""
    return detbox.compose(f"model={name.removesuffix('_patterns')}")


def assert_close(first: Tensor, second: Tensor) -> None:
    """Refuse what is more than rounding."""
    torch.testing.assert_close(first, second, rtol=1e-4, atol=2e-5)


def fresh_peer(name: str, **options: Any) -> PreTrainedModel:
    """A small peer as its constructor leaves it."""
    peer = PEERS[name]
    stages: dict[str, Any] = {"out_features": ["stage3", "stage4"][-peer.num_maps :]}
    backbone = ResNetConfig(
        embedding_size=4,
        hidden_sizes=[4, 4, *CHANNELS],
        depths=[1] * 4,
        layer_type="basic",
        **stages,
    )
    width = "hidden_size" if peer.config is DabDetrConfig else "d_model"
    sizes = {f"{part}_attention_heads": 4 for part in ("encoder", "decoder")}
    sizes |= {f"{part}_ffn_dim": 24 for part in ("encoder", "decoder")}
    sizes |= {width: WIDTH, "encoder_layers": 2, "decoder_layers": LAYERS, "num_queries": QUERIES}
    settings = {"backbone_config": backbone, "num_labels": CLASSES, **sizes, **peer.theirs}
    torch.manual_seed(0)
    return peer.model(peer.config(**{**settings, **options}))


def fresh_detector(name: str) -> Detector:
    """Ours of the same size, on random weights."""
    peer = PEERS[name]
    maps = {"channels": CHANNELS[-peer.num_maps :], "strides": (8, 16)[-peer.num_maps :]}
    backbone = BACKBONES.build({"name": "feeder", **maps})
    neck = NECKS.build(peer.neck, backbone.channels, backbone.strides)
    sizes = {"num_queries": QUERIES, "encoder_layers": 2, "decoder_layers": LAYERS}
    sizes |= {"num_heads": 4, "feedforward_dim": 24}
    return MODELS.build({**sizes, **peer.ours}, backbone, neck, CLASSES)


def pair(name: str, **options: Any) -> Pair:
    """A peer with every weight shaken, ours on its weights, both in evaluation mode."""
    theirs, ours = _independent(fresh_peer(name, **options)), fresh_detector(name)
    given = ours.backbone
    assert isinstance(given, feeder.Feeder)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    maps = tuple(
        torch.randn(2, channels, 96 // stride, 128 // stride, generator=generator)
        for channels, stride in zip(given.channels, given.strides, strict=True)
    )
    feeder.feed(ours, maps)
    backbone = theirs.model.backbone
    getattr(backbone, "conv_encoder", backbone).model = Given(maps)
    return Pair(ours.eval(), theirs.eval(), padded_images(), _copy(theirs, ours, name))


def padded_images() -> ImageBatch:
    """Two pictures of 96 x 128, the second padded below and on the right."""
    mask = torch.zeros(2, 96, 128, dtype=torch.bool)
    mask[1, 72:], mask[1, :, 88:] = True, True
    return ImageBatch(torch.zeros(2, 3, 96, 128), mask)


def shortened(theirs: PreTrainedModel, layers: int) -> PreTrainedModel:
    """The peer without its later decoder layers; what it predicts is what that layer says."""
    short = deepcopy(theirs)
    short.model.decoder.layers = short.model.decoder.layers[:layers]
    short.model.decoder.num_layers = layers
    return short


def _independent(theirs: PreTrainedModel) -> PreTrainedModel:
    """Give refining decoders class heads of their own, as the official code has them."""
    if getattr(theirs.config, "with_box_refine", False) and not theirs.config.two_stage:
        theirs.class_embed = nn.ModuleList(deepcopy(each) for each in theirs.class_embed)
    return theirs


def _copy(theirs: PreTrainedModel, ours: Detector, name: str) -> set[str]:
    """Fill ours and tell which of the peer's tensors were not needed, whatever their alias."""
    rules, stored = PEERS[name].rules, theirs.state_dict()
    own = [each for each in ours.state_dict() if not each.startswith("backbone.")]
    ours.load_state_dict(taken(stored, own, rules, LAYERS))
    read = {stored[each].data_ptr() for one in own for each in their_names(one, rules, LAYERS)}
    left = {each for each, value in stored.items() if value.data_ptr() not in read}
    return {each for each in left if ".backbone." not in each}
