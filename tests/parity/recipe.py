"""Build our detector and criterion from the settings that a recording was made with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from detbox import losses, matchers, models, necks  # noqa: F401  (importing registers)
from detbox.criterion import Criterion
from detbox.models.detector import Detector
from detbox.registry import BACKBONES, LOSSES, MATCHERS, MODELS, NECKS
from parity import feeder  # noqa: F401

Settings = Mapping[str, Any]

SAME = {
    "num_patterns": 0,
    "query_dim": 4,
    "pre_norm": False,
    "transformer_activation": "relu",
    "decoder_sa_type": "sa",
    "decoder_module_seq": ["sa", "ca", "ffn"],
    "two_stage_type": "standard",
    "two_stage_bbox_embed_share": False,
    "two_stage_class_embed_share": False,
    "two_stage_learn_wh": False,
    "two_stage_default_hw": 0.05,
    "two_stage_keep_all_tokens": False,
    "dec_pred_bbox_embed_share": True,
    "dec_pred_class_embed_share": True,
    "embed_init_tgt": True,
    "use_dn": True,
    "use_detached_boxes_dec_out": False,
    "no_interm_box_loss": False,
    "interm_loss_coef": 1.0,
    "add_channel_attention": False,
    "add_pos_value": False,
    "decoder_layer_noise": False,
    "nms_iou_threshold": -1,
    "position_embedding": "sine",
}
"""switches of the official code that have one position here"""

BACKBONE_NAMES = {
    "": "resnet50",
    "r50": "resnet50",
    "swin": "swin_L_384_22k",
    "swinL": "swin_L_384_22k",
    "convnext": "convnext_xlarge_22k",
}
"""ending of a list's file name -> official backbone"""


def official_settings(stem: str) -> dict[str, Any]:
    """The published settings of `names_DINO_4scale_swin`, `dino_5scale_r50` and so on."""
    match = re.fullmatch(r"(?:names_)?dino_(\d)scale_?(\w*)", stem, re.IGNORECASE)
    if match is None:
        raise ValueError(f"no settings known for {stem}; add them to {__name__}")
    scales = int(match[1])
    return {
        **dict.fromkeys(("pe_temperatureH", "pe_temperatureW"), 20),
        **dict.fromkeys(("enc_layers", "dec_layers"), 6),
        **dict.fromkeys(("enc_n_points", "dec_n_points"), 4),
        **dict.fromkeys(("num_classes", "dn_labelbook_size"), 91),
        "hidden_dim": 256,
        "nheads": 8,
        "dim_feedforward": 2048,
        "dropout": 0.0,
        "num_queries": 900,
        "num_feature_levels": scales,
        "return_interm_indices": list(range(5 - scales, 4)),
        "dn_number": 100,
        "dn_label_noise_ratio": 0.5,
        "dn_box_noise_scale": 1.0,
        "backbone": BACKBONE_NAMES[match[2]],
    }


def detector_from(settings: Settings, backbone: nn.Module) -> Detector:
    """The detector of a recording, around a backbone; random weights.

    Raises:
        ValueError: the recording uses a switch that this repository does not have.
    """
    _check(settings)
    neck_settings = {
        "name": "channel_mapper",
        "hidden_dim": settings["hidden_dim"],
        "num_levels": settings["num_feature_levels"],
    }
    neck = NECKS.build(neck_settings, backbone.channels, backbone.strides)
    model_settings = {
        "name": "dino",
        "num_queries": settings["num_queries"],
        "encoder_layers": settings["enc_layers"],
        "decoder_layers": settings["dec_layers"],
        "num_heads": settings["nheads"],
        "num_points": settings["enc_n_points"],
        "feedforward_dim": settings["dim_feedforward"],
        "dropout": settings["dropout"],
        "num_denoising": settings["dn_number"],
        "label_noise": settings["dn_label_noise_ratio"],
        "box_noise": settings["dn_box_noise_scale"],
        "position_temperature": float(settings["pe_temperatureH"]),
    }
    return MODELS.build(model_settings, backbone, neck, settings["num_classes"])


def fed_detector(settings: Settings, channels: Sequence[int], strides: Sequence[int]) -> Detector:
    """The detector of a recording whose backbone maps are given."""
    backbone = BACKBONES.build({"name": "feeder", "channels": channels, "strides": strides})
    return detector_from(settings, backbone)


def criterion_from(settings: Settings) -> Criterion:
    """Matcher and losses of a recording; the losses are called ce, bbox and giou as there."""
    matcher = {
        "name": "hungarian",
        "class_weight": settings["set_cost_class"],
        "l1_weight": settings["set_cost_bbox"],
        "giou_weight": settings["set_cost_giou"],
        "alpha": settings["focal_alpha"],
    }
    by_name = {
        "ce": LOSSES.bind({"name": "focal", "alpha": settings["focal_alpha"]}),
        "bbox": LOSSES.bind({"name": "l1"}),
        "giou": LOSSES.bind({"name": "giou"}),
    }
    weights = {
        "ce": settings["cls_loss_coef"],
        "bbox": settings["bbox_loss_coef"],
        "giou": settings["giou_loss_coef"],
    }
    return Criterion(MATCHERS.build(matcher), by_name, weights)


def _check(settings: Settings) -> None:
    wanted = {
        **SAME,
        "pe_temperatureW": settings["pe_temperatureH"],
        "dec_n_points": settings["enc_n_points"],
        "dn_labelbook_size": settings["num_classes"],
        "matcher_type": "HungarianMatcher",
    }
    other = {
        key: (settings[key], value)
        for key, value in wanted.items()
        if key in settings and settings[key] != value
    }
    if other:
        raise ValueError(f"the recording differs in (recorded, supported): {other}")
