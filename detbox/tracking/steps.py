"""Which optimizer steps Lightning writes to the loggers."""

from __future__ import annotations

import lightning.pytorch as pl


def is_logged(trainer: pl.Trainer, step: int) -> bool:
    """Whether Lightning logs after the `step`-th optimizer step, counted from 1.

    Whoever computes something only to log it asks first: reading a value stalls the device.
    """
    interval: int = vars(trainer)["log_every_n_steps"]
    return interval > 0 and step % interval == 0
