"""Configuration to objects, in the order in which they depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import DictConfig, OmegaConf

# Each fills registries. None of them imports Lightning or timm: composing waits for neither.
import detbox.backbones
import detbox.console.builders
import detbox.data
import detbox.engine.builders
import detbox.engine.lora
import detbox.engine.optimization
import detbox.engine.trainer
import detbox.evaluation.builders
import detbox.guards.builders
import detbox.losses
import detbox.matchers
import detbox.models
import detbox.necks
import detbox.planning
import detbox.tracking.builders
import detbox.tracking.loggers  # noqa: F401
from detbox.backbones.weights import load_pretrained
from detbox.callbacks import CALLBACKS
from detbox.criterion import Criterion
from detbox.data.dataset import DataSet
from detbox.engine.frozen import part_names
from detbox.engine.optimization import Optimization
from detbox.errors import SettingError
from detbox.models.detector import Detector
from detbox.outranking import outranked
from detbox.plugins import SETTING, load_plugins, load_stored, named_in
from detbox.postprocess import Postprocess
from detbox.ranges import Range, check_range
from detbox.registry import (
    ADAPTERS,
    BACKBONES,
    DATA,
    LOGGERS,
    LOSSES,
    MATCHERS,
    MODELS,
    NECKS,
    OPTIMIZERS,
    PAIR_WEIGHTS,
    PLANS,
    POSTPROCESSES,
    SCHEDULES,
    TRAINERS,
)
from detbox.structures import LabelSpace

if TYPE_CHECKING:
    from detbox.data.module import DataModule
    from detbox.engine.module import DetectionModule

SECTIONS = (
    *(BACKBONES, NECKS, MODELS, MATCHERS, POSTPROCESSES),
    *(DATA, PLANS, ADAPTERS, OPTIMIZERS, SCHEDULES, TRAINERS, LOGGERS),
)
"""kinds of parts that a configuration names in a section of their own"""


def compose(*overrides: str, config_name: str = "train") -> DictConfig:
    """The configuration that `tools/train.py` composes: `compose("model=dino", "backbone=swin_l")`.

    Raises:
        hydra.errors.HydraException: an option, a key or a value that the schemas do not know.
        MissingFileError: a plug-in that is named is not installed.
    """
    load_plugins(named_in(overrides))
    with initialize_config_module("detbox.conf", version_base="1.3"):
        return hydra_compose(config_name, overrides=outranked(overrides))


def plugins_of(cfg: DictConfig) -> list[str]:
    """The plug-ins that a configuration names; those of old files name none."""
    named = cfg.get(SETTING) or ()
    return [named] if isinstance(named, str) else list(named)


def build_detector(cfg: DictConfig, num_classes: int) -> Detector:
    """Backbone, neck and model of a configuration, on random weights.

    Raises:
        MissingFileError: the configuration is a file's, and a plug-in of its is not installed.
    """
    load_stored(plugins_of(cfg))
    backbone = BACKBONES.build(cfg.backbone)
    neck = NECKS.build(cfg.neck, backbone.channels, backbone.strides)
    detector: Detector = MODELS.build(cfg.model, backbone, neck, num_classes)
    return detector


def build_criterion(cfg: DictConfig) -> Criterion:
    """Matcher and losses of a configuration.

    Raises:
        ValueError: one of them reads class scores in another way than the model gives them.
    """
    check_scores(cfg)
    losses_by_name = {str(name): LOSSES.bind(loss) for name, loss in cfg.criterion.losses.items()}
    weights = {
        str(name): number(f"criterion.weights.{name}", weight, Range(0))
        for name, weight in cfg.criterion.weights.items()
    }
    group_weights = {
        str(group): {
            str(name): number(f"criterion.group_weights.{group}.{name}", weight, Range(0))
            for name, weight in own.items()
        }
        for group, own in cfg.criterion.get("group_weights", {}).items()
    }
    pair_weight = cfg.criterion.get("pair_weight")
    return Criterion(
        MATCHERS.build(cfg.matcher),
        losses_by_name,
        weights,
        group_weights,
        None if pair_weight is None else PAIR_WEIGHTS.bind(pair_weight),
    )


def build_postprocess(cfg: DictConfig) -> Postprocess:
    """What turns predictions into detections."""
    postprocess: Postprocess = POSTPROCESSES.build(cfg.postprocess)
    return postprocess


def build_dataset(cfg: DictConfig) -> DataSet:
    """The data set of a configuration; no file is opened."""
    load_stored(plugins_of(cfg))
    dataset: DataSet = DATA.build(cfg.data)
    return dataset


def build_data(cfg: DictConfig) -> DataModule:
    """The data set of a configuration, with its loaders."""
    from detbox.data.module import DataModule

    return DataModule(build_dataset(cfg), cfg.seed)


def build_module(
    cfg: DictConfig, label_space: LabelSpace, *, learns: bool = True
) -> DetectionModule:
    """Detector, criterion and optimization as one LightningModule, on random weights.

    Args:
        cfg: as `compose` gives it, or as a checkpoint stores it.
        label_space: the classes.
        learns: False without an optimization, to evaluate: old checkpoints store schedules that
            have other settings today.
    """
    from detbox.engine.module import DetectionModule

    module = DetectionModule(
        build_detector(cfg, len(label_space)),
        build_criterion(cfg),
        build_postprocess(cfg),
        _optimization(cfg) if learns else None,
        label_space,
        plain(cfg),
    )
    module.freeze_parts(part_names(cfg.get("freeze")))
    return module


def _optimization(cfg: DictConfig) -> Optimization:
    return Optimization(OPTIMIZERS.bind(cfg.optimizer), SCHEDULES.bind(cfg.schedule))


def check_scores(cfg: DictConfig) -> None:
    """Refuse parts that read class scores in another way than the model gives them.

    Raises:
        ValueError: a loss, the matcher or the post-processing reads the other kind, or one of them
            does not say what it reads.
    """
    given = MODELS.scores(cfg.model)
    if given is None:
        raise SettingError(
            f"model={cfg.model.name} is registered with scores=None, but a detector gives class "
            'scores; register it with scores="sigmoid" or scores="softmax"'
        )
    reads = {
        f"criterion.losses.{key}={loss.name}": LOSSES.scores(loss)
        for key, loss in cfg.criterion.losses.items()
    }
    if (pair_weight := cfg.criterion.get("pair_weight")) is not None:
        reads[f"criterion.pair_weight={pair_weight.name}"] = PAIR_WEIGHTS.scores(pair_weight)
    reads[f"matcher={cfg.matcher.name}"] = MATCHERS.scores(cfg.matcher)
    reads[f"postprocess={cfg.postprocess.name}"] = POSTPROCESSES.scores(cfg.postprocess)
    if wrong := [part for part, own in reads.items() if own not in (None, given)]:
        other = "sigmoid" if given == "softmax" else "softmax"
        kinds = (("loss", LOSSES), ("matcher", MATCHERS), ("postprocess", POSTPROCESSES))
        fitting = "; ".join(f"{kind}: {', '.join(of.fitting(given))}" for kind, of in kinds)
        raise SettingError(
            f"model={cfg.model.name} gives {given} scores, but {', '.join(wrong)} needs {other} "
            f"scores; try one that fits ({fitting})"
        )


def load_backbone(module: DetectionModule, embedded: bool, weights: str | None = None) -> None:
    """Give a fresh detector its pretrained backbone.

    Random weights are good enough only for the embedded data set: nobody trains for days from
    scratch by accident.

    Args:
        module: fresh.
        embedded: whether it trains on the embedded data set.
        weights: file for a backbone that is a plain module; others know theirs.
    """
    load_pretrained(module.detector.backbone, required=not embedded, weights=weights)


def check_settings(cfg: DictConfig) -> None:
    """Refuse values that no part could take, before a file of the data is opened.

    Raises:
        KeyError: a setting that a part does not know.
        ValueError: a value outside its range or choices.
    """
    for registry in SECTIONS:
        if registry.kind in cfg:
            registry.bind(cfg[registry.kind])
    for settings in cfg.callbacks.values():
        if settings is not None:
            CALLBACKS.bind(settings)
    if cfg.get("lr_batch") is not None:
        number("lr_batch", cfg.lr_batch, Range(1))


def number(key: str, value: object, within: Range) -> float:
    """A setting outside the typed schemas as a number.

    Raises:
        ValueError: it is none, or outside its range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingError(f"{key} must be a number, got {value!r}")
    check_range(key, value, within)
    return float(value)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain containers, as a checkpoint stores it."""
    return cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))
