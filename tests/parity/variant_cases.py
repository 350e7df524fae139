"""One row per model of the family: how its recordings' settings become ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """How to build one model, and what the official code trains and reads it with.

    Args:
        pattern: found in the names of its recordings.
        model: official settings -> ours, `name` included.
        neck: official settings -> ours, `name` included.
        strides: of the maps that its full-size backbone gives.
        published: official settings of the full-size model, by file name.
        matcher: ours, on top of the recorded weights.
        classification: our class loss.
        postprocess: ours, without the number of detections.
    """

    pattern: str
    model: Callable[[Settings], dict[str, Any]]
    neck: Callable[[Settings], dict[str, Any]]
    strides: tuple[int, ...]
    published: Callable[[str], dict[str, Any]]
    matcher: Settings = field(default_factory=lambda: {"name": "hungarian", "eps": 0.0})
    classification: Settings = field(default_factory=lambda: {"name": "focal"})
    postprocess: Settings = field(default_factory=lambda: {"name": "top"})


def variant_of(stem: str) -> Variant:
    """The row of a file name without its ending.

    Raises:
        KeyError: there is none.
    """
    for variant in VARIANTS:
        if re.search(variant.pattern, stem):
            return variant
    raise KeyError(f"no model known for {stem}; add a row to {__name__}")


def sizes(settings: Settings) -> dict[str, Any]:
    """The knobs that all models share."""
    return {
        "num_queries": settings["num_queries"],
        "encoder_layers": settings["enc_layers"],
        "decoder_layers": settings["dec_layers"],
        "num_heads": settings["nheads"],
        "feedforward_dim": settings["dim_feedforward"],
        "dropout": settings.get("dropout", 0.0),
    }


def channel_mapper(settings: Settings) -> dict[str, Any]:
    """One projection per level and coarser ones from the last map."""
    return {
        "name": "channel_mapper",
        "hidden_dim": settings["hidden_dim"],
        "num_levels": settings["num_feature_levels"],
    }


def full_size(**settings: Any) -> dict[str, Any]:
    """Official settings that all full-size models share, and those of one."""
    shared = {"hidden_dim": 256, "nheads": 8, "enc_layers": 6, "dec_layers": 6, "dropout": 0.1}
    return {**shared, "num_feature_levels": 4, "enc_n_points": 4, **settings}


def deformable_detr(settings: Settings) -> dict[str, Any]:
    """Deformable DETR, plain, refined or two-stage."""
    return {
        "name": "deformable_detr",
        **sizes(settings),
        "num_points": settings["enc_n_points"],
        "refine": settings["with_box_refine"],
        "two_stage": settings["two_stage"],
    }


def published_deformable_detr(stem: str) -> dict[str, Any]:
    """`deformable_detr_r50_refine_two_stage` and so on."""
    options = {"with_box_refine": "refine" in stem, "two_stage": "two_stage" in stem}
    return full_size(num_queries=300, dim_feedforward=1024, **options)


def dab_deformable_detr(settings: Settings) -> dict[str, Any]:
    """DAB-Deformable-DETR."""
    name, points = "dab_deformable_detr", settings["enc_n_points"]
    return {"name": name, **sizes(settings), "num_points": points}


def dn_deformable_detr(settings: Settings) -> dict[str, Any]:
    """DN-Deformable-DETR."""
    return {**dab_deformable_detr(settings), "name": "dn_deformable_detr", **denoising(settings)}


def denoising(settings: Settings) -> dict[str, Any]:
    """Groups and noise of DN-DETR."""
    return {
        "denoising_groups": settings["scalar"],
        "label_noise": settings["label_noise_scale"],
        "box_noise": settings["box_noise_scale"],
    }


def published_dab_deformable(stem: str) -> dict[str, Any]:
    """DAB-Deformable-DETR and DN-Deformable-DETR."""
    noise = {"scalar": 5, "label_noise_scale": 0.2, "box_noise_scale": 0.4}
    return full_size(num_queries=300, dim_feedforward=2048, **noise)


def projection(settings: Settings) -> dict[str, Any]:
    """One projection of the last map."""
    return {"name": "projection", "hidden_dim": settings["hidden_dim"]}


def detr(settings: Settings) -> dict[str, Any]:
    """DETR, post-norm or pre-norm."""
    return {"name": "detr", **sizes(settings), "pre_norm": settings["pre_norm"]}


def published_detr(stem: str) -> dict[str, Any]:
    """DETR."""
    return full_size(num_queries=100, dim_feedforward=2048, pre_norm=False)


def conditional_detr(settings: Settings) -> dict[str, Any]:
    """Conditional DETR; as shipped by detrex its decoder also attends to the padding."""
    masked = settings.get("decoder_key_padding_mask_passed", False)
    return {"name": "conditional_detr", **sizes(settings), "attend_to_padding": not masked}


def published_conditional_detr(stem: str) -> dict[str, Any]:
    """Conditional DETR."""
    masked = {"decoder_key_padding_mask_passed": True}
    return full_size(num_queries=300, dim_feedforward=2048, **masked)


def dab_detr(settings: Settings) -> dict[str, Any]:
    """DAB-DETR with any number of patterns."""
    return {
        "name": "dab_detr",
        **sizes(settings),
        "num_patterns": settings["num_patterns"],
        "position_temperature": float(settings["pe_temperatureH"]),
    }


def dn_detr(settings: Settings) -> dict[str, Any]:
    """DN-DETR on DAB-DETR."""
    return {**dab_detr(settings), "name": "dn_detr", **denoising(settings)}


def published_dab_detr(stem: str) -> dict[str, Any]:
    """DAB-DETR and DN-DETR."""
    noise = {"scalar": 5, "label_noise_scale": 0.2, "box_noise_scale": 0.4}
    own = {"num_patterns": 0, "pe_temperatureH": 20, **noise}
    return full_size(num_queries=300, dim_feedforward=2048, **own)


PYRAMID = (8, 16, 32)
LAST = (32,)

VARIANTS: tuple[Variant, ...] = (
    Variant(r"dn_dab_detr", dn_detr, projection, LAST, published_dab_detr),
    Variant(r"dab_detr", dab_detr, projection, LAST, published_dab_detr),
    Variant(r"conditional_detr", conditional_detr, projection, LAST, published_conditional_detr),
    Variant(
        r"dn_dab_deformable_detr",
        dn_deformable_detr,
        channel_mapper,
        PYRAMID,
        published_dab_deformable,
    ),
    Variant(
        r"dab_deformable_detr",
        dab_deformable_detr,
        channel_mapper,
        PYRAMID,
        published_dab_deformable,
    ),
    Variant(
        r"deformable_detr", deformable_detr, channel_mapper, PYRAMID, published_deformable_detr
    ),
    Variant(
        r"detr",
        detr,
        projection,
        LAST,
        published_detr,
        matcher={"name": "hungarian", "class_cost": "softmax", "eps": 0.0},
        classification={"name": "cross_entropy"},
        postprocess={"name": "softmax"},
    ),
)
"""Rows, the first hit counts."""
