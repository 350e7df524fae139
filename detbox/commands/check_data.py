"""List what would hurt a training, before it."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig

from detbox.build import build_dataset, check_settings
from detbox.commands.overrides import chosen_keys, typed_keys
from detbox.commands.resuming import with_data
from detbox.commands.table import register_command
from detbox.console.lines import say
from detbox.errors import DataError, SettingError
from detbox.messages import counted
from detbox.planning import Facts, chosen_settings, with_choices
from detbox.runfile import RunCheckpoint


@register_command("check_data", data_of_ckpt=True, paths=("ckpt",), bare="data")
def check_data(cfg: DictConfig, folder: Path) -> None:
    """List what would hurt a training on a data set: broken files, false boxes, odd classes.

    Every defect is counted, with examples by file and id, what it does to the training of a DETR,
    and what to do; the worst come first. Ends with status 1 where there are errors: annotations
    that are false, or lost to training. Warnings and notes leave it at 0.

    Args:
        cfg: `data`, and what else a training would have; `decode`, `alike`.
        folder: where `report.json` and `report.html` go.

    Raises:
        DataError: there are errors, or the data cannot be read at all.
    """
    check_settings(cfg)
    for key in ("decode", "alike"):
        if not isinstance(cfg[key], bool):
            raise SettingError(f"{key} must be true or false, got {cfg[key]!r}")
    cfg = as_trained(cfg)
    from detbox.checking import checked
    from detbox.checking.gathering import gathered
    from detbox.checking.page import page

    dataset = build_dataset(cfg)
    subject = gathered(dataset, _queries(cfg), decode=cfg.decode, alike=cfg.alike)
    report = checked(subject)
    for line in report.lines():
        say(line)
    say(report.summary())
    text = json.dumps(report.as_json(), indent=1, ensure_ascii=False)
    (folder / "report.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    source = str(cfg.data.get("root") or subject.parts[0].split.source)
    html = page(report, f"Data of {source}", dataset.reading)
    (folder / "report.html").write_text(html, encoding="utf-8", errors="xmlcharrefreplace")
    say(f"report.json, report.html in {folder}")
    if report.errors:
        raise DataError(
            f"{counted(len(report.errors), 'error')} in {source}; look at {folder / 'report.html'}"
        )


def as_trained(cfg: DictConfig) -> DictConfig:
    """With the settings of the run whose data these are, or those that a plan takes from them."""
    if cfg.ckpt is not None:
        run = RunCheckpoint.read(cfg.ckpt).recipe
        run = with_data(run, cfg, typed_keys())
        return _with(cfg, data=run.data, model=run.model)
    split = build_dataset(cfg).read("train") if cfg.get("plan") is not None else None
    if split is None:
        return cfg
    return with_choices(cfg, chosen_settings(cfg, Facts.of(split), chosen_keys(), None))


def _with(cfg: DictConfig, **sections: DictConfig) -> DictConfig:
    cfg = cfg.copy()
    for key, value in sections.items():
        cfg[key] = value
    return cfg


def _queries(cfg: DictConfig) -> int | None:
    """Of the model, where somebody has chosen one."""
    chosen = {key.partition(".")[0] for key in typed_keys()}
    if cfg.ckpt is None and chosen.isdisjoint({"model", "experiment"}):
        return None
    queries: int | None = cfg.model.get("num_queries")
    return queries
