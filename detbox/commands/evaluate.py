"""Evaluate a checkpoint on a validation split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from detbox import ops
from detbox.build import build_data, build_module, check_settings
from detbox.commands.dividing import to_judge
from detbox.commands.overrides import typed_keys
from detbox.commands.resuming import with_data
from detbox.commands.session import context_of, report, trainer_of
from detbox.commands.table import register_command
from detbox.console.lines import say
from detbox.runfile import RunCheckpoint


@register_command("evaluate", data_of_ckpt=True, paths=("ckpt",))
def evaluate(cfg: DictConfig, folder: Path, given: Iterable[str] | None = None) -> dict[str, float]:
    """Evaluate a checkpoint on a validation split and write COCO results JSON.

    Args:
        cfg: `ckpt`, `data`, `trainer`.
        folder: where `detections.json` goes.
        given: keys that the caller set himself, such as `data.root`; None: those of the command
            line. The others of `data` are as they were in training, if it is of the same kind.

    Returns:
        The figures by name.

    Raises:
        ValueError, FileNotFoundError: no such checkpoint or data, or no class in common.
    """
    check_settings(cfg)
    ops.configure(cfg.op)
    checkpoint = RunCheckpoint.read(cfg.ckpt)
    given = typed_keys() if given is None else list(given)
    run = with_data(checkpoint.recipe, cfg, given)
    run = to_judge(run, cfg, given, checkpoint)
    data, label_space = build_data(run), checkpoint.label_space
    context = context_of(run, data, folder, label_space, training=False)
    trainer = trainer_of(cfg, context)
    if trainer.is_global_zero:
        say(f"{checkpoint.path}: {checkpoint.weights}")
    module = build_module(run, label_space, learns=False)
    # Not by `ckpt_path`: Lightning would ask for the callbacks that wrote the checkpoint.
    checkpoint.fill(module.detector)
    trainer.validate(module, data, verbose=False)
    return report(trainer, context)
