"""Builders of the callbacks that a training run stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detbox.callbacks import RunContext, Stage, register_callback

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import ModelCheckpoint

    from detbox.engine.seeding import SeedEveryStep


@register_callback("seeding", Stage.SEED)
def seeding(context: RunContext) -> list[SeedEveryStep]:
    """The same draws whether a run was resumed or not."""
    from detbox.engine.seeding import SeedEveryStep

    return [SeedEveryStep(context.seed)]


@register_callback("checkpoints", Stage.SAVING)
def checkpoints(context: RunContext, *, every_n_steps: int = 500) -> list[ModelCheckpoint]:
    """`best.ckpt` by validation AP; `last.ckpt` after each validation and every so many steps.

    A file is replaced only when the new one is complete, so a killed run always leaves one.

    Args:
        context: without an evaluation there is no best one, and the last follows each epoch.
        every_n_steps: how many steps a killed run may lose.
    """
    from lightning.pytorch.callbacks import ModelCheckpoint

    if not context.training:
        return []
    common: dict[str, Any] = {
        "dirpath": context.folder / "checkpoints",
        "enable_version_counter": False,
    }
    every = context.save_every or every_n_steps
    last = ModelCheckpoint(filename="last", every_n_train_steps=every, **common)
    if not context.figures.promised:
        ending = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **common)
        return [ending, last]
    best = ModelCheckpoint(filename="best", monitor="val/AP", mode="max", save_last=True, **common)
    return [best, last]
