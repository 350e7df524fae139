"""timm's feature extractors: what they are called, which maps they give, which sizes they take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from detbox.errors import SettingError
from detbox.messages import near

if TYPE_CHECKING:
    from timm.models import FeatureInfo, PretrainedCfg

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
    "vision_transformer_hybrid": _PLAIN,
    "vitamin": _PLAIN,
    "swin_transformer_v2_cr": {"strict_img_size": False},
}
"""settings for images of any size, by timm's module; other families need none or cannot"""
ONE_SIZE = ("mvitv2",)
"""families made for one size, whose tables of positions the meta device does not see run out"""
ODD_SIZES = ((97, 130), (203, 317))
"""on which a model shows whether it takes any"""


class Extractor(NamedTuple):
    """What is known of a model before it is built."""

    reductions: tuple[int, ...]
    """strides of all levels, as timm orders them"""
    divisor: int
    """of the picture's sides that the model needs"""


def family(model: str) -> str:
    """timm's module that a model is from."""
    import timm

    return timm.model_entrypoint(model.partition(".")[0]).__module__.rpartition(".")[2]


@cache
def classifier_names(model: str) -> tuple[str, ...]:
    """Names of the tensors of the whole model, with its head."""
    import timm

    with torch.device("meta"):
        return tuple(timm.create_model(model).state_dict())


def create_body(model: str, levels: Sequence[int] | None = None, **settings: Any) -> nn.Module:
    """The timm feature extractor of the levels at these indices, for images of any size."""
    import timm

    settings |= ANY_SIZE.get(family(model), {})
    settings |= {"out_indices": tuple(levels)} if levels is not None else {}
    return timm.create_model(model, features_only=True, **settings)


def feature_info(body: nn.Module) -> FeatureInfo:
    """What timm knows of a feature extractor's levels."""
    return cast("FeatureInfo", body.feature_info)


def maps_of(body: nn.Module, pixels: Tensor) -> list[Tensor]:
    """The extractor's maps as (B, C, h, w), views where it works on channels last."""
    maps: list[Tensor] = body(pixels)
    last = getattr(body, "output_fmt", "NCHW") == "NHWC"
    return [features.permute(0, 3, 1, 2) for features in maps] if last else maps


def published_weights(model: str) -> PretrainedCfg:
    """What timm knows of a model's published weights and their preprocessing."""
    from timm.models import get_pretrained_cfg

    return cast("PretrainedCfg", get_pretrained_cfg(model))


def check_name(model: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        ValueError: the name, or the tag of its weights, is unknown.
    """
    import timm

    known = timm.list_pretrained() if "." in model else timm.list_models()
    if model not in known:  # timm still builds older names, but knows nothing of their weights
        raise SettingError(f"timm has no backbone.model={model!r}{near(model, known)}")


@cache
def describe(model: str, **settings: Any) -> Extractor:
    """Look at a model on the meta device: its levels, and the sizes that it takes.

    Args:
        model: a name that timm knows.
        settings: of timm's builder, beside `features_only`.

    Raises:
        ValueError: the model knows no such setting, gives no maps, or takes one size only.
    """
    try:
        with torch.device("meta"):
            body = create_body(model, **settings).eval()
    except (TypeError, AssertionError, RuntimeError) as error:  # by model and setting
        given = {"drop_path_rate": "backbone.drop_path=0", "output_stride": "output_stride=32"}
        ways = "".join(f"{given[setting]} or " for setting in settings)
        raise SettingError(
            f"backbone.model={model} gives no feature maps with {settings or 'any setting'} "
            f"({error}); try {ways}another backbone.model"
        ) from error
    reductions = tuple(level["reduction"] for level in feature_info(body).info)
    return Extractor(reductions, _divisor(model, body))


def _divisor(model: str, body: nn.Module) -> int:
    """The smallest of 1, the finest and the coarsest stride that makes odd sizes fit."""
    strides = feature_info(body).reduction()
    for divisor in (1, min(strides), max(strides)) if family(model) not in ONE_SIZE else ():
        if all(_fits(body, divisor, size) for size in ODD_SIZES):
            return divisor
    own = published_weights(model).input_size[-2:]
    if _sizes(body, *own) is None:
        return 1  # without memory it cannot be tried
    raise SettingError(
        f"backbone.model={model} takes pictures of {own[0]}x{own[1]} alone, or gives maps of other "
        f"sizes than its strides {strides} say; take another, such as one of ResNet, ConvNeXt, "
        "Swin, PVT, MobileNet, EfficientNet, DINOv2 or DINOv3"
    )


def _fits(body: nn.Module, divisor: int, size: tuple[int, int]) -> bool:
    """Whether its maps have the sizes that the strides say, rounded either way."""
    padded = [-(-side // divisor) * divisor for side in size]
    found = _sizes(body, *padded)
    return found is not None and all(
        cells in (side // stride, -(-side // stride))
        for sizes, stride in zip(found, feature_info(body).reduction(), strict=True)
        for cells, side in zip(sizes, padded, strict=True)
    )


def _sizes(body: nn.Module, height: int, width: int) -> list[torch.Size] | None:
    """Heights and widths of the maps of a picture; None where the model refuses it."""
    try:
        maps = maps_of(body, torch.empty(1, 3, height, width, device="meta"))
    except Exception:  # timm's families trip over anything
        return None
    return [features.shape[-2:] for features in maps]
