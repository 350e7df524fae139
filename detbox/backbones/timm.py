"""Any timm model that yields a feature pyramid, at any image size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from timm import create_model, is_model, list_models, list_pretrained, model_entrypoint
from timm.layers import DropPath, PatchEmbed
from timm.models import FeatureInfo, PretrainedCfg, get_pretrained_cfg
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.backbones.checkpointing import recompute_stages
from detbox.backbones.freezing import freeze, names_up_to
from detbox.backbones.swin import pad_before_shifting
from detbox.layers.norm import MapNorm
from detbox.registry import BACKBONES, near

PRETRAINED = ("auto", "true", "false")
# timm fits windows to one image size; without these it refuses any other and drops the shift of
# stages that were as small as their window.
_WINDOWS = {"strict_img_size": False, "always_partition": True}
_PLAIN = {"dynamic_img_size": True}
ANY_SIZE = {
    "swin_transformer": _WINDOWS,
    "swin_transformer_v2": _WINDOWS,
    "vision_transformer": _PLAIN,
    "deit": _PLAIN,
    "eva": _PLAIN,
}
"""settings for images of any size, by timm's module; other families need none or cannot"""


class TimmBackbone(nn.Module):
    """A headless timm model that returns NCHW maps of the chosen strides.

    Map sizes are H / stride, W / stride rounded up, or down where a model's convolutions drop
    incomplete cells (ConvNeXt). Images smaller than the coarsest stride are zero-padded to it.
    Plain ViTs have one stride, their patch size, which is their `size_divisor` too; learnt
    positions are interpolated to the image, class and register tokens are dropped.
    """

    def __init__(
        self, body: nn.Module, model: str, *, out_norm: bool, weights: str | None, pretrained: str
    ) -> None:
        super().__init__()
        published, info = published_weights(model), feature_info(body)
        self.model = model
        self.weights_file = weights
        self.pretrained = pretrained
        self.mean: tuple[float, ...] = tuple(published.mean)
        self.std: tuple[float, ...] = tuple(published.std)
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.strides: tuple[int, ...] = tuple(info.reduction())
        self.levels: tuple[int, ...] = tuple(info.out_indices)
        self.body = body
        self.norms = _output_norms(body) if out_norm else nn.ModuleDict()
        self._channels_last = getattr(body, "output_fmt", "NCHW") == "NHWC"
        self._patch = _patch_size(body)
        plain = whole_model(body) is not None and self.strides == (self._patch,)
        self.size_divisor = self._patch if plain else 1

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Feature maps, fine to coarse.

        Args:
            pixels: (B, 3, H, W) normalised by `mean` and `std`, any size.

        Returns:
            One (B, C, h, w) map per stride; a view of channels-last memory where the model
            works that way.
        """
        maps = self.body(enlarged(pixels, self._patch, self.strides[-1]))
        if self._channels_last:
            maps = [features.permute(0, 3, 1, 2) for features in maps]  # (B, C, h, w)
        if self.norms:
            norms = self.norms.values()
            maps = [norm(features) for norm, features in zip(norms, maps, strict=True)]
        return tuple(maps)


@BACKBONES.register("timm")
def timm(
    *,
    model: str,
    strides: tuple[int, ...] = (8, 16, 32),
    output_stride: int = 32,
    weights: str | None = None,
    pretrained: str = "auto",
    frozen_stages: int = 0,
    frozen_norm: bool = False,
    out_norm: bool = False,
    drop_path: float = 0.0,
    checkpointing: bool = False,
) -> TimmBackbone:
    """Build a timm model without its head, on random weights; `load_pretrained` fills it.

    Args:
        model: timm name, with or without the tag of its weights (`resnet50.tv_in1k`).
        strides: levels to return, fine to coarse, in input pixels per cell.
        output_stride: 16 or 8 dilate the last stages of a ResNet instead of striding them; of
            several stages with one stride the last counts.
        weights: local weights file, `.pth` or `.safetensors`.
        pretrained: auto, true or false; see `detbox.backbones.weights`.
        frozen_stages: 1 freezes all up to stride 4, 2 up to stride 8 and so on; 0 nothing.
        frozen_norm: keep batch norm at its stored statistics and scales.
        out_norm: layer norm on each returned map, as Swin and ConvNeXt detectors have it.
        drop_path: stochastic depth rate of the last block, rising linearly from 0.
        checkpointing: recompute activations in the backward pass: less memory, more time. Batch
            norms that are not frozen see each batch twice.

    Raises:
        ValueError: unknown model, a stride or stage that it lacks, or a bad `pretrained`.
    """
    pretrained = check_pretrained(pretrained)
    body = _create(model, strides, output_stride, drop_path)
    frozen = _names_up_to(body, frozen_stages) if frozen_stages else set()
    freeze(body, frozen, norms=frozen_norm)
    if checkpointing:
        recompute_stages(body)
    return TimmBackbone(body, model, out_norm=out_norm, weights=weights, pretrained=pretrained)


def create_body(model: str, levels: Sequence[int], **settings: Any) -> nn.Module:
    """The timm feature extractor of the levels at these indices, for images of any size."""
    family = model_entrypoint(model.partition(".")[0]).__module__.rpartition(".")[2]
    settings |= ANY_SIZE.get(family, {})
    return create_model(model, features_only=True, out_indices=tuple(levels), **settings)


def feature_info(body: nn.Module) -> FeatureInfo:
    """What timm knows of a feature extractor's levels."""
    return cast("FeatureInfo", body.feature_info)


def whole_model(body: nn.Module) -> nn.Module | None:
    """The model inside a feature extractor where timm leaves it whole, as of ViTs."""
    return getattr(body, "model", None)


def published_weights(model: str) -> PretrainedCfg:
    """What timm knows of a model's published weights and their preprocessing."""
    return cast("PretrainedCfg", get_pretrained_cfg(model))


def _create(model: str, strides: Sequence[int], output_stride: int, drop_path: float) -> nn.Module:
    settings: dict[str, Any] = {"output_stride": output_stride} if output_stride != 32 else {}
    settings |= {"drop_path_rate": drop_path} if drop_path else {}
    body = create_body(model, _levels(model, strides, settings), **settings)
    for module in body.modules():
        if isinstance(module, DropPath) and not drop_path:
            module.drop_prob = 0.0
    pad_before_shifting(body)
    return body


def _levels(model: str, strides: Sequence[int], settings: dict[str, Any]) -> list[int]:
    known_models = list_pretrained() if "." in model else list_models()
    if not is_model(model) or ("." in model and model not in known_models):
        raise ValueError(f"timm has no backbone.model={model!r}{near(model, known_models)}")
    info = _described(model, settings)
    known = {level["reduction"]: index for index, level in enumerate(info.info)}
    missing = [stride for stride in strides if stride not in known]
    if missing or not strides or list(strides) != sorted(set(strides)):
        raise ValueError(
            f"backbone.strides are rising strides of {model}, some of {sorted(known)}; "
            f"got {list(strides)}; choose among them or take another backbone.model"
        )
    return [known[stride] for stride in strides]


def _described(model: str, settings: dict[str, Any]) -> FeatureInfo:
    try:
        with torch.device("meta"):
            return feature_info(create_model(model, features_only=True, **settings))
    except (TypeError, AssertionError, RuntimeError) as error:  # by model and setting
        way = "leave backbone.drop_path and backbone.output_stride alone or " if settings else ""
        raise ValueError(
            f"backbone.model={model} gives no feature maps with {settings or 'any setting'} "
            f"({error}); {way}take another backbone.model"
        ) from error


def _names_up_to(body: nn.Module, stages: int) -> set[str]:
    info, stride = feature_info(body), 2 ** (stages + 1)
    deepest = max(info.reduction())
    ends = {x["reduction"]: x["module"] for x in info.info if x["reduction"] <= deepest}
    if stages < 0 or stride not in ends:
        raise ValueError(
            f"backbone.frozen_stages={stages} ends at stride {stride}, the backbone has strides "
            f"{sorted(ends)}; try backbone.frozen_stages={'1 or 0' if 4 in ends else '0'}"
        )
    # Some of timm's wrappers join the first two parts of a name, others put one before it.
    end = ends[stride]
    return names_up_to(body, f"{end}.", f"{end.replace('.', '_', 1)}.", f"model.{end}.")


def _output_norms(body: nn.Module) -> nn.ModuleDict:
    eps = next((m.eps for m in body.modules() if isinstance(m, nn.LayerNorm)), 1e-5)
    info = feature_info(body)
    levels = zip(info.out_indices, info.channels(), strict=True)
    return nn.ModuleDict({str(level): MapNorm(channels, eps=eps) for level, channels in levels})


def _patch_size(body: nn.Module) -> int:
    # PVT's patches overlap and need no whole number.
    embedding = getattr(whole_model(body) or body, "patch_embed", None)
    return int(embedding.patch_size[0]) if isinstance(embedding, PatchEmbed) else 1


def check_pretrained(pretrained: str) -> str:
    """The setting `backbone.pretrained` in small letters; YAML's booleans count as words.

    Raises:
        ValueError: it is none of `PRETRAINED`.
    """
    pretrained = str(pretrained).lower()
    if pretrained not in PRETRAINED:
        raise ValueError(
            f"backbone.pretrained is one of {', '.join(PRETRAINED)}; got {pretrained!r}"
        )
    return pretrained


def enlarged(pixels: Tensor, patch: int, least: int) -> Tensor:
    """The image (B, 3, H, W) with zeros below and to the right: whole patches, a least side."""
    height, width = pixels.shape[-2:]
    bottom = max(least - height, -height % patch)
    right = max(least - width, -width % patch)
    return F.pad(pixels, (0, right, 0, bottom)) if bottom or right else pixels
