"""Any timm model that yields a feature pyramid, at any image size."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detbox.backbones.checkpointing import recompute_stages
from detbox.backbones.extractors import (
    check_name,
    classifier_names,
    create_body,
    describe,
    feature_info,
    maps_of,
    published_weights,
)
from detbox.backbones.freezing import ALL, freeze, names_up_to
from detbox.backbones.naming import COMPUTED, Names
from detbox.backbones.protocol import BackboneModule
from detbox.backbones.settings import check_drop_path, check_pretrained
from detbox.backbones.timm_names import (
    CONVNEXT,
    names_in_classifier,
    official_name,
    release_of,
)
from detbox.errors import SettingError
from detbox.messages import listed
from detbox.padding import enlarged
from detbox.ranges import Count, ShareBelowOne, Stages
from detbox.registry import BACKBONES

OUTPUT_STRIDES = (8, 16, 32)


class TimmBackbone(BackboneModule):
    """A headless timm model that returns NCHW maps of the chosen strides.

    Map sizes are H / stride, W / stride rounded up, or down where a model's convolutions drop
    incomplete cells (ConvNeXt). Images are zero-padded to the coarsest stride, and to multiples of
    what the model needs. Where that is more than the finest stride it is the `size_divisor`: maps
    are those of the padded image. Plain ViTs have one stride, their patch size; learnt positions
    are interpolated to the image, class and register tokens are dropped.
    """

    published = True

    def __init__(
        self,
        body: nn.Module,
        model: str,
        divisor: int,
        *,
        out_norm: bool,
        weights: str | None,
        pretrained: str,
    ) -> None:
        super().__init__()
        published, info = published_weights(model), feature_info(body)
        self.model = model
        self.weights_file = weights
        self.pretrained = pretrained
        self.mean = tuple(published.mean)
        self.std = tuple(published.std)
        self.channels = tuple(info.channels())
        self.strides = tuple(info.reduction())
        self.levels = tuple(info.out_indices)
        self.body = body
        self.norms = _output_norms(body) if out_norm else nn.ModuleDict()
        self.size_divisor = divisor if divisor > self.strides[0] else 1
        self.reads_all = self.levels[-1] == len(info.info) - 1
        self._divisor = divisor

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Feature maps, fine to coarse.

        Args:
            pixels: (B, 3, H, W) normalised by `mean` and `std`, any size.

        Returns:
            One (B, C, h, w) map per stride; a view of channels-last memory where the model
            works that way.
        """
        maps = maps_of(self.body, enlarged(pixels, self._divisor, self.strides[-1]))
        if self.norms:
            norms = self.norms.values()
            maps = [norm(features) for norm, features in zip(norms, maps, strict=True)]
        return tuple(maps)

    @property
    def frozen_stem(self) -> bool:
        """Whether the stem is frozen, and nothing behind it."""
        frozen = {name for name, each in self.body.named_parameters() if not each.requires_grad}
        return bool(frozen) and frozen == _stem(self.body)

    def official_names(self) -> Names:
        """Our name -> the name in the authors' detectors; models without such keep timm's."""
        return {name: (official_name(name, self.model),) for name in self.state_dict()}

    def constants(self) -> dict[str, Tensor]:
        """Indices of Swin's windows, counts of batches, norms of ConvNeXt's maps not read."""
        held = {name: each for name, each in self.named_buffers() if name.endswith(COMPUTED)}
        found = {official_name(name, self.model): each for name, each in held.items()}
        return found | (self._unread_norms() if release_of(self.model) == CONVNEXT else {})

    def namings(self) -> dict[str, Names]:
        """The whole timm model's names, our own, and the authors'."""
        official = self.official_names()
        return {
            "timm model": names_in_classifier(official, self.model),
            **super().namings(),
            "authors' release": {
                name: (each.removeprefix("body."),) for name, (each,) in official.items()
            },
        }

    def may_lack(self, name: str) -> bool:
        """Output norms may be absent: classifiers have none."""
        return name.startswith("norms.")

    def left_by_design(self) -> Collection[str]:
        """Parts of the whole timm model, such as its head."""
        return classifier_names(self.model)

    def adapted(self, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """The file as timm's own reader of the family reads it."""
        import timm

        with torch.device("meta"):
            whole = timm.create_model(self.model)
        adapt = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
        if adapt is None:
            return None
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # some tell what they leave out
                return dict(adapt(dict(stored), whole))
        except Exception:  # on files of other models they trip over anything
            return None

    def fetch(self) -> str:
        """Fill the body from the local cache or timm's hub."""
        from detbox.backbones import hub

        tensors, place = hub.published_tensors(self.model, self.levels)
        self.body.load_state_dict(tensors)
        return place

    def _unread_norms(self) -> dict[str, Tensor]:
        unread = {
            level: stage["num_chs"]
            for level, stage in enumerate(feature_info(self.body).info)
            if self.norms and level not in self.levels
        }
        weights = {f"norm{level}.weight": torch.ones(width) for level, width in unread.items()}
        return weights | {
            f"norm{level}.bias": torch.zeros(width) for level, width in unread.items()
        }


@BACKBONES.register("timm")
def timm(
    *,
    model: str,
    strides: tuple[Count, ...] = (8, 16, 32),
    output_stride: Count = 32,
    weights: str | None = None,
    pretrained: str = "auto",
    frozen_stages: Stages = 0,
    frozen_stem: bool = False,
    frozen_norm: bool = False,
    out_norm: bool = False,
    drop_path: ShareBelowOne = 0.0,
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
        frozen_stages: 1 freezes all up to stride 4, 2 up to stride 8 and so on; 0 nothing, -1 all.
        frozen_stem: freeze what lies before the stage of stride 4, detectron2's `freeze_at=1`.
        frozen_norm: keep batch norm at its stored statistics and scales.
        out_norm: layer norm on each returned map, as Swin and ConvNeXt detectors have it.
        drop_path: stochastic depth rate of the last block, rising linearly from 0.
        checkpointing: recompute activations in the backward pass: less memory, more time. Batch
            norms that are not frozen see each batch twice.

    Raises:
        ValueError: unknown model, a stride or stage that it lacks, or a bad `pretrained`.
    """
    pretrained = check_pretrained(pretrained)
    check_drop_path(drop_path)
    check_name(model)
    if output_stride not in OUTPUT_STRIDES:
        raise SettingError(f"backbone.output_stride={output_stride} is none of {OUTPUT_STRIDES}")
    settings: dict[str, Any] = {"output_stride": output_stride} if output_stride != 32 else {}
    settings |= {"drop_path_rate": drop_path} if drop_path else {}
    known = describe(model, **settings)
    body = _create(model, _levels(model, strides, known.reductions), settings)
    frozen = _names_up_to(body, frozen_stages) if frozen_stages else set()
    stem = _stem(body) if frozen_stem else set()
    if frozen_stem and not stem:
        raise SettingError(
            "backbone.frozen_stem=true needs layers before a stage of stride 4, "
            f"{model} has strides {sorted(_ends(body))}; leave it out"
        )
    freeze(body, frozen | stem, norms=frozen_norm)
    if checkpointing:
        recompute_stages(body, model)
    return TimmBackbone(
        body, model, known.divisor, out_norm=out_norm, weights=weights, pretrained=pretrained
    )


def _create(model: str, levels: Sequence[int], settings: dict[str, Any]) -> nn.Module:
    from timm.layers import DropPath

    from detbox.backbones.swin import pad_before_shifting

    body = create_body(model, levels, **settings)
    for module in body.modules():
        if isinstance(module, DropPath) and "drop_path_rate" not in settings:
            module.drop_prob = 0.0
    pad_before_shifting(body)
    return body


def _levels(model: str, strides: Sequence[int], reductions: Sequence[int]) -> list[int]:
    known = {stride: index for index, stride in enumerate(reductions)}
    missing = [stride for stride in strides if stride not in known]
    if missing or not strides or list(strides) != sorted(set(strides)):
        raise SettingError(
            f"backbone.strides are rising strides of {model}, some of {sorted(known)}; "
            f"got {list(strides)}; try backbone.strides={listed(sorted(known)[-len(strides) :])} "
            "or another backbone.model"
        )
    return [known[stride] for stride in strides]


def _names_up_to(body: nn.Module, stages: int) -> set[str]:
    if stages == ALL:
        return {name for name, _ in body.named_parameters()}
    ends, stride = _ends(body), 2 ** (stages + 1)
    prefixes = _prefixes(ends.get(stride, ""))
    if stages < 0 or stride not in ends or not names_up_to(body, *prefixes):
        fitting = [str(stage) for stage in (1, 2, 3, 4) if 2 ** (stage + 1) in ends]
        raise SettingError(
            f"backbone.frozen_stages={stages} ends at stride {stride}, the backbone has strides "
            f"{sorted(ends)}; try backbone.frozen_stages={' or '.join([*fitting, '-1'])} (-1: all)"
        )
    return names_up_to(body, *prefixes)


def _stem(body: nn.Module) -> set[str]:
    """Parameters before the stage of stride 4; none where there is no such stage."""
    prefixes = _prefixes(_ends(body).get(4, ""))
    names = [name for name, _ in body.named_parameters()]
    first = next((i for i, name in enumerate(names) if name.startswith(prefixes)), 0)
    return set(names[:first])


def _ends(body: nn.Module) -> dict[int, str]:
    """Stride -> module at whose end it is reached, of the levels that are computed."""
    info = feature_info(body)
    deepest = max(info.reduction())
    return {x["reduction"]: str(x["module"]) for x in info.info if x["reduction"] <= deepest}


def _prefixes(module: str) -> tuple[str, ...]:
    """How the names of a module's parameters may begin."""
    # Some of timm's wrappers join the first two parts of a name, others put one before it.
    return f"{module}.", f"{module.replace('.', '_', 1)}.", f"model.{module}."


def _output_norms(body: nn.Module) -> nn.ModuleDict:
    from timm.layers import LayerNorm2d

    eps = next((m.eps for m in body.modules() if isinstance(m, nn.LayerNorm)), 1e-5)
    info = feature_info(body)
    levels = zip(info.out_indices, info.channels(), strict=True)
    return nn.ModuleDict({str(level): LayerNorm2d(width, eps=eps) for level, width in levels})
