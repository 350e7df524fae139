"""Write a data set in another format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from detbox.commands.table import register_command
from detbox.console.lines import say
from detbox.data.paths import several
from detbox.errors import SettingError
from detbox.messages import some
from detbox.places import located
from detbox.registry import DATA


@register_command("convert_data", paths=("from", "out"), in_place=True, bare="from")
def convert_data(cfg: DictConfig, folder: Path) -> None:
    """Write a data set in another format, and say what that has no words for.

    Args:
        cfg: `data`, or `from` for its root; `to`, `out`, `pictures`.
        folder: nothing is written there.

    Raises:
        ValueError, FileNotFoundError: the data cannot be read, or `out` is in use.
    """
    from detbox.data.converting import check_apart, check_new, convert, undivided, writer_to

    out, roots = located(cfg.out), several(_root(cfg))
    writer_to(cfg.to, cfg.pictures)
    check_new("out", out, list(map(located, roots)))
    dataset = DATA.build({**cfg.data, **({"root": roots} if roots else {})})
    read = {part: dataset.read(part) for part in ("train", "val")}
    splits = undivided({part: split for part, split in read.items() if split is not None})
    for split in splits.values():
        say(split.summary())
    if len(roots) > 1:
        check_apart("out", list(splits.values()))
    sources = [*(each.folder for each in splits.values()), *map(located, roots)]
    done = convert(splits, cfg.to, out, cfg.pictures, sources)
    for part, split in done.splits.items():
        say(f"{out}, {part or 'not divided'}: {split.contents()}")
        for finding in done.lost[part]:
            say(f"not in {cfg.to}: {finding}")
    told = [f"{number} {what}" for what, number in sorted(done.pictures.items())]
    say(f"pictures: {some(told)}")


def _root(cfg: DictConfig) -> str | Sequence[str] | None:
    """`data.root`, or `from`, its short name."""
    root: str | Sequence[str] | None = cfg.data.get("root")
    if cfg["from"] is None:
        return root
    if root is not None or "root" not in cfg.data:
        other = f"data.root={root}" if root else f"data={cfg.data.name}"
        raise SettingError(f"from={cfg['from']} beside {other}: two data sets; give one of them")
    return str(cfg["from"])
