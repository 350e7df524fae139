"""What a person can ask for, one file each; importing the package registers the commands."""

from __future__ import annotations

from detbox.commands import (
    check_data,
    convert_checkpoint,
    convert_data,
    evaluate,
    predict,
    replay,
    show_data,
    train,
    wandb_workspace,
)

__all__ = [
    "check_data",
    "convert_checkpoint",
    "convert_data",
    "evaluate",
    "predict",
    "replay",
    "show_data",
    "train",
    "wandb_workspace",
]
