"""TensorBoard's event files in the run folder, which a run that goes on adds to."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers.logger import Logger
from lightning_utilities.core.rank_zero import rank_zero_only

from detbox.errors import MachineError
from detbox.tracking.loggers import Finishing
from detbox.tracking.metrics_file import Line
from detbox.tracking.resumed import EPOCH, Once

FOLDER = "tensorboard"

log = logging.getLogger(__name__)


class EventFiles(Finishing, Logger):
    """Write each figure as a point of its step; one that cannot be written ends no training.

    TensorBoard drops the points of steps that are done again: the new file says from where on. The
    last step that is kept is written once more, since a killed run may not have got that far.

    Args:
        folder: of the run; the files go into `folder/tensorboard`.
        resumed_at: optimizer steps behind which a run goes on; None: it is new.
        before: rows of `metrics.csv` from before.

    Raises:
        MachineError: TensorBoard is not installed.
    """

    def __init__(
        self, folder: Path, resumed_at: int | None = None, before: Sequence[Line] = ()
    ) -> None:
        super().__init__()
        self.folder = folder / FOLDER
        self._once = Once()
        self._epoch_at: int | None = None
        self._lost = False
        self._is_new = resumed_at is None
        first = max((resumed_at or 0) - 1, 0)
        self._writer: Any = None if rank_zero_only.rank else _writer(self.folder, first)  # type: ignore[attr-defined]
        again = [line for line in before if line.step >= first]
        for step, figures in again:
            self.log_metrics(figures, step)
        self._once = Once((step, name) for step, figures in again for name in figures)

    @property
    def name(self) -> str:
        """Of the folder."""
        return FOLDER

    @property
    def version(self) -> str:
        """A run has one."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add what is new, the epoch once a step."""
        new = self._once(metrics, step)
        if EPOCH in new and step == self._epoch_at:
            del new[EPOCH]
        elif EPOCH in new:
            self._epoch_at = step
        self._try(lambda writer: [writer.add_scalar(*each, step) for each in new.items()])

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Keep the configuration as text."""
        if self._is_new:
            text = yaml.safe_dump(params if isinstance(params, dict) else vars(params))
            indented = "".join(f"    {line}\n" for line in text.splitlines())  # code, in Markdown
            self._try(lambda writer: writer.add_text("config", indented, 0))

    @rank_zero_only
    def save(self) -> None:
        """Bring what was added to the disk."""
        self._try(lambda writer: writer.flush())

    @rank_zero_only
    def finish(self, *, failed: bool = False) -> None:
        """Close the file, and end the thread that writes it."""
        self._try(lambda writer: writer.flush())
        with suppress(Exception):  # said by now
            self._writer.close()

    def _try(self, act: Callable[[Any], object]) -> None:
        if self._lost:
            return
        try:
            act(self._writer)
        except Exception as error:  # of many kinds: the files are written by a thread
            self._lost = True
            log.warning("TensorBoard: lost, the figures go on into metrics.csv: %s", error)


def _writer(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MachineError(
            "logger=tensorboard needs the package tensorboard, which is not installed; run "
            "pip install 'detbox[tensorboard]', or choose logger=csv"
        ) from error
    return SummaryWriter(str(folder), purge_step=first)
