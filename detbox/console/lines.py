"""One clean console: known framework noise left out, detbox's own lines in one format."""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings
from typing import TextIO

from lightning_utilities.core.rank_zero import rank_zero_only
from rich import get_console

LINES = (
    "💡 Tip:",
    "`Trainer(limit_",
    "GPU available:",
    "TPU available:",
    "HPU available:",
    "`Trainer.fit` stopped:",
    "LOCAL_RANK:",
    "Initializing distributed: GLOBAL_RANK",
    f"{'-' * 100}\ndistributed_backend=",
    "You are using a CUDA device",
    "SLURM auto-requeueing enabled",
    "Using bfloat16 Automatic Mixed Precision",
    "Using 16bit Automatic Mixed Precision",
    "Loading `train_dataloader` to estimate",
    "Restoring states from the checkpoint path",
    "Restored all states from the checkpoint",
    "Loaded model weights from the checkpoint",
    "Found current_model_state in the checkpoint",
)
"""Beginnings of Lightning's log lines that the run folder or detbox itself says better."""

WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"Starting from v1\.9\.0, `tensorboardX` has been removed",
    r"The '\w+' does not have many workers",
    r"Consider setting `persistent_workers=True`",
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"Experiment logs directory .* exists and is not empty",
    r"`ModelCheckpoint\(monitor='val/AP'\)` could not find the monitored key",
    r"Checkpoint directory .* exists and is not empty",
    r"Be aware that when using `ckpt_path`, callbacks used to create the checkpoint",
    r"The checkpoint was not created with WeightAveraging",
    r"Found \d+ module\(s\) in eval mode at the start of training",  # `freeze` says which
    r"FSDP2-wrapped module \(\w+\) returned a view tensor",
    r"It is recommended to use `self\.log\('val/loss', \.\.\., sync_dist=True\)`",
)
"""Beginnings, as regular expressions, of warnings that are known and harmless here."""


def quiet() -> None:
    """Leave out known noise; print every log record and every warning as one plain line.

    Only what this file lists is dropped. Handlers that write to the console, such as Hydra's, give
    way to one that prints above a running progress bar; log files keep theirs. Call it again after
    someone else configured logging.
    """
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names may hold what a terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    root = logging.getLogger()
    for name in ("", "lightning", "lightning.pytorch", "lightning.fabric", "detbox"):
        logger = logging.getLogger(name)
        _drop_console_handlers(logger)
        if logger is not root:
            logger.propagate = True
            logger.setLevel(logging.INFO)
    root.addHandler(ConsoleHandler())


def say(line: str) -> None:
    """Print a line as it is, without wrapping, above a running progress bar."""
    told = line.encode("utf-8", "backslashreplace").decode()  # file names may not be UTF-8
    get_console().print(told, markup=False, highlight=False, emoji=False, soft_wrap=True)


class ConsoleHandler(logging.Handler):
    """Print records of rank 0 and warnings of every rank; above INFO, the level comes first."""

    _noise = re.compile("|".join(map(re.escape, LINES)))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is worth a line."""
        if record.name.startswith("lightning") and self._noise.match(record.getMessage().lstrip()):
            return False
        return getattr(rank_zero_only, "rank", 0) == 0 or record.levelno > logging.INFO

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        say(level + self.format(record))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Python's hook for warnings; where one came from matters only if it is not for the user."""
    origin = "" if category is UserWarning else f" ({category.__name__}, {filename}:{lineno})"
    logging.getLogger("py.warnings").warning("%s%s", message, origin)


def _drop_console_handlers(logger: logging.Logger) -> None:
    for handler in list(logger.handlers):
        # Exactly this type: files and test captures are subclasses of it.
        if type(handler) is logging.StreamHandler or isinstance(handler, ConsoleHandler):
            logger.removeHandler(handler)
