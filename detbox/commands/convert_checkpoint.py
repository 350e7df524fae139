"""Read an official checkpoint into detbox's own format, or write it back."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from detbox.commands.table import register_command
from detbox.console.lines import say


@register_command(
    "convert_checkpoint", paths=("source", "target", "classes", "ckpt", "init"), in_place=True
)
def convert_checkpoint(cfg: DictConfig, folder: Path) -> None:
    """Read an official checkpoint into detbox's own format, or write it back.

    Args:
        cfg: `source`, `target`, `to`, `strict`, `classes`, and what builds the detector.
        folder: nothing is written there.

    Raises:
        ValueError, FileNotFoundError: the source cannot be read, or does not fit the settings.
    """
    from detbox.conversion import convert

    target, line = convert(cfg)
    say(f"{target}: {line}")
