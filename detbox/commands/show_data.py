"""Draw what is annotated, and what training makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from omegaconf import DictConfig

from detbox.build import build_dataset, check_settings
from detbox.commands.check_data import as_trained
from detbox.commands.table import register_command
from detbox.console.lines import say
from detbox.errors import DataError, SettingError

SPLITS = ("train", "val")


@register_command("show_data", data_of_ckpt=True, paths=("ckpt",), bare="data")
def show_data(cfg: DictConfig, folder: Path) -> None:
    """Draw annotated pictures, what the augmentation makes of them, and objects by class and size.

    Args:
        cfg: `data`, and what else a training would have; `split`, `count`, `draws`, `seed`.
        folder: where `pictures.jpg`, `augmented.jpg`, `sizes.jpg` and `per_class` go.

    Raises:
        DataError: there is no such split, or no picture can be read.
        SettingError: a number below 1, or another split than train and val.
    """
    check_settings(cfg)
    for key in ("count", "draws"):
        if not isinstance(cfg[key], int) or cfg[key] < 1:
            raise SettingError(f"{key} must be a whole number from 1 on, got {cfg[key]!r}")
    if cfg.split not in SPLITS:
        raise SettingError(f"split={cfg.split}: expected train or val")
    from detbox.showing import Shown

    dataset = build_dataset(as_trained(cfg))
    split = dataset.read(cast("Literal['train', 'val']", cfg.split))
    if split is None:
        raise DataError(f"expected a {cfg.split} split, found none; {dataset.advice}")
    say(split.summary())
    shown = Shown(split, dataset, cfg.count)
    shown.pictures(folder / "pictures.jpg")
    shown.augmented(folder / "augmented.jpg", cfg.draws, cfg.seed)
    shown.sizes(folder / "sizes.jpg")
    shown.classes(folder / "per_class")
    say(f"pictures.jpg, augmented.jpg, sizes.jpg, per_class in {folder}")
