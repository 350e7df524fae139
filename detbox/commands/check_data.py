"""List what would hurt a training, before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from detbox.build import build_dataset, check_settings
from detbox.commands.overrides import chosen_keys, typed_keys
from detbox.commands.resuming import with_data
from detbox.commands.table import register_command
from detbox.console.lines import say
from detbox.data.folder import Folder, Named
from detbox.data.paths import several
from detbox.errors import DataError, SettingError
from detbox.messages import counted, some
from detbox.places import located
from detbox.planning import Facts, chosen_settings, with_choices
from detbox.runfile import RunCheckpoint

if TYPE_CHECKING:
    from detbox.checking import Report
    from detbox.data.dataset import DataSet
    from detbox.data.images import Reading

UNNAMED = {part: Named(None, None) for part in ("train", "val")}


@register_command("check_data", data_of_ckpt=True, paths=("ckpt", "fix"), bare="data")
def check_data(cfg: DictConfig, folder: Path) -> None:
    """List what would hurt a training on a data set: broken files, false boxes, odd classes.

    Every defect is counted, with examples by file and id, what it does to the training of a DETR,
    and what to do; the worst come first. Ends with status 1 where there are errors: annotations
    that are false, or lost to training. Warnings and notes leave it at 0. fix=NEW writes a repaired
    copy, and then its errors are those that count.

    Args:
        cfg: `data`, and what else a training would have; `decode`, `alike`, `fix`.
        folder: where `report.json` and `report.html` go.

    Raises:
        DataError: there are errors, or the data cannot be read at all.
        SettingError: the folder of the copy is in use.
    """
    check_settings(cfg)
    for key in ("decode", "alike"):
        if not isinstance(cfg[key], bool):
            raise SettingError(f"{key} must be true or false, got {cfg[key]!r}")
    cfg = as_trained(cfg)
    from detbox.checking import checked
    from detbox.checking.fixing import check_target
    from detbox.checking.gathering import gathered

    dataset, out, roots = build_dataset(cfg), _target(cfg), several(cfg.data.get("root"))
    read = [located(each) for each in (*roots, *several(cfg.data.get("negatives")))]
    if out is not None:
        check_target(out, read)
    decode = cfg.decode or out is not None
    report = checked(gathered(dataset, _queries(cfg), decode=decode, alike=cfg.alike))
    for line in (*report.lines(), report.summary()):
        say(line)
    source = ", ".join(roots) or str(report.subject.parts[0].split.source)
    _write(report, folder, f"Data of {source}", dataset.reading)
    if out is not None:
        report, source = _repaired(report, dataset, out, read), str(out)
        say(f"{out}: {report.summary()}")
    if report.errors:
        names = some([each.name for each in report.errors])
        raise DataError(
            f"{counted(len(report.errors), 'error')} in {source}: {names}; look at "
            f"{folder / 'report.html'}" + ("" if out else ", or give fix=NEW for a repaired copy")
        )


def _repaired(report: Report, dataset: DataSet, out: Path, read: Sequence[Path]) -> Report:
    """Write the copy, and check it."""
    from detbox.checking import checked
    from detbox.checking.fixing import fix
    from detbox.checking.gathering import gathered

    for line in fix(report.subject, out, read):
        say(line)
    copy = replace(dataset, read=Folder(str(out), UNNAMED, "coco"))
    return checked(gathered(copy, report.subject.queries, decode=False, alike=False))


def _write(report: Report, folder: Path, title: str, reading: Reading) -> None:
    from detbox.checking.page import page

    text = json.dumps(report.as_json(), indent=1, ensure_ascii=False)
    (folder / "report.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    html = page(report, title, reading)
    (folder / "report.html").write_text(html, encoding="utf-8", errors="xmlcharrefreplace")
    say(f"report.json, report.html in {folder}")


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


def _target(cfg: DictConfig) -> Path | None:
    """Folder of the repaired copy."""
    return None if cfg.fix is None else located(str(cfg.fix))


def _queries(cfg: DictConfig) -> int | None:
    """Of the model, where somebody has chosen one."""
    chosen = {key.partition(".")[0] for key in typed_keys()}
    if cfg.ckpt is None and chosen.isdisjoint({"model", "experiment"}):
        return None
    queries: int | None = cfg.model.get("num_queries")
    return queries
