"""Official checkpoints into detbox's own and back, and training that starts from a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from torch import Tensor

from detbox.annotations.coco import read_categories
from detbox.build import build_detector, plain
from detbox.data.steps import COCO_SIZES
from detbox.engine.module import DetectionModule
from detbox.errors import CheckpointError, MissingFileError
from detbox.messages import counted, near, some
from detbox.models.deformable_detr import object_rows
from detbox.models.detector import Detector
from detbox.official.classes import given_label_space, official_label_space
from detbox.official.files import read_official
from detbox.official.layouts import official_names
from detbox.official.registry import LAYOUTS
from detbox.official.state import advice_on, layout_for, load_official, save_official
from detbox.pickles import read_safely, write_whole
from detbox.places import located
from detbox.planning import Start
from detbox.predictor import load
from detbox.runfile import RunCheckpoint, run_file
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
    source = located(cfg.source)
    default = source.with_suffix(".ckpt" if cfg.to == "detbox" else ".pth")
    target = located(cfg.target) if cfg.target else default
    if target.exists():
        raise CheckpointError(f"{target} is there already; give target=FILE, or remove it")
    if cfg.to == "detbox":
        run, line = _to_detbox(cfg, source, cfg.classes, cfg.strict)
        run.write(target)
    else:
        tensors = _official_tensors(cfg, source)
        line = f"{len(tensors)} tensors"
        write_whole({"model": tensors}, target)
    return target, line


def start_from(module: DetectionModule, path: str | Path, cfg: DictConfig) -> Table:
    """Fill a fresh module from a checkpoint of the same detector, class by class.

    Args:
        module: as `build_module` gives it.
        path: a run's file or folder, or an official file, which is converted on the way.
        cfg: the configuration that the module was built from.

    Returns:
        What was taken over, for the console.

    Raises:
        FileNotFoundError, ValueError: no checkpoint, or of another detector.
    """
    run = _as_run(cfg, located(path))
    rows = class_tensors(lambda count: build_detector(cfg, count), len(module.label_space))
    space = module.label_space
    by_place = object_rows(module.detector)
    done = transplant(module.detector, space, run.detector, run.label_space, rows, by_place)
    return done.table()


def start_of(path: str | Path) -> Start:
    """Sizes of pictures and queries that a checkpoint learnt with; an official one as on COCO.

    Raises:
        FileNotFoundError, ValueError: no checkpoint.
    """
    file = run_file(located(path))
    content = read_safely(file, mapped=True)
    if not (isinstance(content, dict) and "detbox" in content):
        return Start(str(path), 800, COCO_SIZES, 1333, None)
    config = RunCheckpoint.of(content, file).config
    data = config["data"]
    side = int(data.get("eval_size") or data["image_size"])
    sides = tuple(data.get("train_sizes") or (side,))
    queries = config["model"].get("num_queries")
    return Start(str(path), side, sides, int(data.get("max_size") or max(side, *sides)), queries)


def _as_run(cfg: DictConfig, path: Path) -> RunCheckpoint:
    """A run's file or folder as it is, an official file converted on the way."""
    file = run_file(path)
    content = read_safely(file, mapped=True)
    if isinstance(content, dict) and "detbox" in content:
        return RunCheckpoint.of(content, file)
    run, line = _to_detbox(cfg, file, classes=None, strict=True)
    logger.info("%s: %s", file, line)
    return run


def _to_detbox(
    cfg: DictConfig, source: Path, classes: str | None, strict: bool
) -> tuple[RunCheckpoint, str]:
    tensors = read_official(source)
    space = _label_space(classes, _num_classes(cfg, source, tensors))
    detector = build_detector(cfg, len(space))
    report = load_official(detector, tensors, strict=strict)
    config = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in OWN_SETTINGS])
    run = RunCheckpoint(plain(config), space, detector.state_dict())
    return run, f"{report}; {counted(len(space), 'class')}"


def _official_tensors(cfg: DictConfig, source: Path) -> dict[str, Tensor]:
    detector = cast("Detector", load(source, "cpu").detector)
    return save_official(detector, None if cfg.to == "official" else cfg.to)


def _num_classes(cfg: DictConfig, source: Path, tensors: dict[str, Tensor]) -> int:
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
        f"{source} has no class head that fits model={cfg.model.name}: "
        f"expected {some(list(whole), 2)}; {advice_on(detector, tensors)}"
    )


def _label_space(classes: str | None, num_classes: int) -> LabelSpace:
    if not classes:
        space = official_label_space(num_classes)
        if space.names[0] == "class 0":
            logger.warning(
                "%d classes are not COCO's: they are numbered; give classes=ANNOTATIONS.json",
                num_classes,
            )
        return space
    file = located(classes)
    if not file.is_file():
        raise MissingFileError(
            f"classes={classes}: there is no such file; give the annotations that the checkpoint "
            "was trained on"
        )
    return given_label_space(read_categories(file), num_classes)
