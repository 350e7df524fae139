"""Official checkpoints into detbox's own and back, and training that starts from a checkpoint."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from torch import Tensor

from detbox.build import build_detector, plain
from detbox.engine.atomic import AtomicCheckpointIO
from detbox.engine.module import DetectionModule
from detbox.errors import CheckpointError
from detbox.messages import near, some
from detbox.models.detector import Detector
from detbox.official.classes import given_label_space, official_label_space
from detbox.official.files import read_official
from detbox.official.layouts import LAYOUTS, official_names
from detbox.official.state import advice_on, layout_for, load_official, save_official
from detbox.predictor import load
from detbox.runfile import read_checkpoint
from detbox.structures import LabelSpace
from detbox.transplant import class_tensors, transplant

logger = logging.getLogger("detbox")

OWN_SETTINGS = ("source", "target", "to", "strict", "classes")
"""keys of `conf/convert_checkpoint.yaml` that say nothing about the detector"""


def convert(cfg: DictConfig) -> tuple[Path, str]:
    """Write a checkpoint in another layout.

    Args:
        cfg: `source`, `target`, `to`, `strict`, `classes`, and, towards detbox, everything that
            builds the detector.

    Returns:
        The written file, and one line on what it holds.

    Raises:
        FileNotFoundError, ValueError: the source cannot be read, does not fit the configuration,
            or the target is there already.
    """
    known = ["detbox", "official", *LAYOUTS]
    if cfg.to not in known:
        raise CheckpointError(f"to={cfg.to}: no such layout{near(str(cfg.to), known)}")
    source = Path(cfg.source).expanduser()
    default = source.with_suffix(".ckpt" if cfg.to == "detbox" else ".pth")
    target = Path(cfg.target).expanduser() if cfg.target else default
    if target.exists():
        raise CheckpointError(f"{target} is there already; give target=FILE, or remove it")
    content, line = _to_detbox(cfg, source) if cfg.to == "detbox" else _to_official(cfg, source)
    AtomicCheckpointIO().save_checkpoint(content, target)
    return target, line


def start_from(module: DetectionModule, path: str | Path, cfg: DictConfig) -> Table:
    """Fill a fresh module from a checkpoint of the same detector, class by class.

    Args:
        module: as `build_module` gives it.
        path: a checkpoint of detbox.
        cfg: the configuration that the module was built from.

    Returns:
        What was taken over, for the console.

    Raises:
        FileNotFoundError, ValueError: no checkpoint of detbox, or of another detector.
    """
    content = read_checkpoint(path)
    stored = {
        name.removeprefix("detector."): tensor for name, tensor in content["state_dict"].items()
    }
    rows = class_tensors(lambda count: build_detector(cfg, count), len(module.label_space))
    known = LabelSpace.from_dict(content["detbox"]["label_space"])
    return transplant(module.detector, module.label_space, stored, known, rows).table()


def _to_detbox(cfg: DictConfig, source: Path) -> tuple[dict[str, Any], str]:
    tensors = read_official(source)
    space = _label_space(cfg, _num_classes(cfg, tensors))
    detector = build_detector(cfg, len(space))
    report = load_official(detector, tensors, strict=cfg.strict)
    config = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in OWN_SETTINGS])
    content = {
        "state_dict": {f"detector.{name}": each for name, each in detector.state_dict().items()},
        "detbox": {"config": plain(config), "label_space": space.to_dict()},
    }
    return content, f"{report}; {len(space)} classes"


def _to_official(cfg: DictConfig, source: Path) -> tuple[dict[str, Any], str]:
    detector = cast("Detector", load(source, "cpu").detector)
    tensors = save_official(detector, None if cfg.to == "official" else cfg.to)
    return {"model": tensors}, f"{len(tensors)} tensors"


def _num_classes(cfg: DictConfig, tensors: dict[str, Tensor]) -> int:
    """Rows of the file's first head; what is no class, such as "no object", not counted."""
    rows = class_tensors(lambda count: build_detector(cfg, count), 2)
    with torch.device("meta"):
        detector = build_detector(cfg, 2)
    layout = layout_for(detector, tensors)
    names = official_names(detector, layout)
    whole = {names[name][0]: n for name, n in rows.items() if not LAYOUTS[layout].is_short(name)}
    found = [tensors[name].shape[0] - beyond for name, beyond in whole.items() if name in tensors]
    if found:
        return found[0]
    raise CheckpointError(
        f"{cfg.source} has no class head that fits model={cfg.model.name}: "
        f"expected {some(list(whole), 2)}; {advice_on(detector, tensors)}"
    )


def _label_space(cfg: DictConfig, num_classes: int) -> LabelSpace:
    if not cfg.classes:
        space = official_label_space(num_classes)
        if space.names[0] == "class 0":
            logger.warning(
                "%d classes are not COCO's: they are numbered; give classes=ANNOTATIONS.json",
                num_classes,
            )
        return space
    try:
        document = json.loads(Path(cfg.classes).expanduser().read_text(encoding="utf-8"))
        return given_label_space(document["categories"], num_classes)
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"classes={cfg.classes} is no COCO annotation file ({type(error).__name__}); "
            "give the one that the checkpoint was trained on"
        ) from error
