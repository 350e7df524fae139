"""What only W&B can show; the one file that imports wandb."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlparse

import lightning.pytorch as pl
import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from wandb.errors import CommError

from detbox.errors import MachineError
from detbox.figures import ClassMetrics, Figures
from detbox.structures import Batch, LabelSpace
from detbox.tracking.loggers import Finishing
from detbox.tracking.panels import Panel, panel

Mode = Literal["auto", "online", "offline", "disabled"]
STEP = "trainer/global_step"

log = logging.getLogger(__name__)


def wandb_logger(
    folder: Path,
    config: Mapping[str, Any],
    *,
    mode: Mode,
    init_seconds: float,
    finish_seconds: float,
    **init: Any,
) -> RunLogger:
    """Start a run, offline where it cannot be online, and wrap it for Lightning.

    Args:
        folder: the run's files go into `folder/wandb`.
        config: the resolved configuration.
        mode: auto: online with an API key, else offline.
        init_seconds: a server that does not answer for so long counts as unreachable.
        finish_seconds: for the last uploads; what is left stays on disk for `wandb sync`.
        init: passed to `wandb.init`, such as project, name, tags, group.

    Raises:
        RuntimeError: online was asked for and there is no API key.
    """
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return RunLogger(offline=True, project=init.get("project"))
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        init_timeout=init_seconds,
        finish_timeout=finish_seconds,
        finish_timeout_raises=True,
        silent=True,
        console="off",
    )
    # A run that a failed job left open must not take the next job's figures.
    arguments = {**init, "dir": str(folder), "config": dict(config), "reinit": "finish_previous"}
    run = _start(_effective(mode), settings=settings, **arguments)
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for name in ("val/AP", "val_raw/AP"):
        run.define_metric(name, step_metric=STEP, step_sync=True, summary="max")
    return RunLogger(experiment=run, project=init.get("project"), save_dir=folder)


class RunLogger(Finishing, WandbLogger):
    """Lightning's W&B logger, but whatever befalls W&B, the training goes on."""

    _lost = False

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log, or say once that W&B is lost."""
        if self._lost:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:  # of many kinds: W&B's own, a broken pipe to its process
            self._lost = True
            log.warning("W&B: lost, the figures go on into metrics.csv: %s", error)

    def finish(self, *, failed: bool = False) -> None:
        """End the run; waits for uploads, but not for long."""
        try:
            self.experiment.finish(exit_code=int(failed))
        except Exception as error:  # as above
            log.warning("W&B: the run is not complete on the server: %s", error)
            log.warning("W&B: %s", _upload(self.experiment))


class WandbDashboard(pl.Callback):
    """Panels of the same validation images with true and found boxes, and a table of class APs.

    Both are logged after each validation, as `panels/image_<id>` and `val/classes`.

    Args:
        figures: of the run; the table needs them.
        num_images: the first images of the validation set (in a distributed run: of rank 0).
        threshold: least score of a box that is drawn.
    """

    def __init__(self, figures: Figures, num_images: int = 8, threshold: float = 0.3) -> None:
        self.figures = figures
        self.num_images = num_images
        self.threshold = threshold
        self._panels: list[Panel] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the previous panels."""
        self._panels = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Prepare the images that are still missing."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        names = cast("LabelSpace", pl_module.label_space).names
        for image, detections in enumerate(outputs[: self.num_images - len(self._panels)]):
            self._panels.append(panel(batch, image, detections, names, self.threshold))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send panels and table."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        last = self.figures.last
        rows = last.classes if last else ()
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                shown = {f"panels/{p.name}": _image(p) for p in self._panels}
                table = {"val/classes": _table(rows, logger)} if rows else {}
                logger.log_metrics({**shown, **table}, step=trainer.global_step)


def _image(drawn: Panel) -> wandb.Image:
    return wandb.Image(drawn.pixels, caption=drawn.name, boxes=drawn.boxes)


def _table(rows: Sequence[ClassMetrics], logger: RunLogger) -> wandb.Table:
    """A table of named tuples that W&B stores as a file of the run."""
    table = wandb.Table(columns=list(rows[0]._fields), data=[list(row) for row in rows])
    # An unbound table becomes an artifact, and then `log` waits for the server and may fail.
    table.bind_to_run(logger.experiment, "val/classes", logger.experiment.step)
    return table


def _effective(mode: Mode) -> str:
    """The mode for `wandb.init`, chosen so that it never asks for a key."""
    if mode == "auto" and "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    if mode not in ("auto", "online") or _has_key():
        return mode.replace("auto", "online")
    if mode == "online":
        advice = "run `wandb login`, or choose logger.mode=auto or offline"
        raise MachineError(f"logger.mode=online needs an API key and found none; {advice}")
    log.info("W&B: no API key found, so the run is offline; `wandb login` stores a key")
    return "offline"


def _has_key() -> bool:
    """Whether W&B would find credentials without asking."""
    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if settings.api_key or os.environ.get("WANDB_API_KEY") or settings.identity_token_file:
        return True
    try:
        path = os.environ.get("NETRC")
        return netrc(path).authenticators(urlparse(settings.base_url).netloc) is not None
    except (FileNotFoundError, NetrcParseError):
        return False


def _start(mode: str, **arguments: Any) -> wandb.Run:
    """Start a run, or an offline one if the server cannot be reached; say where it is."""
    try:
        run = wandb.init(mode=mode, **arguments)  # type: ignore[arg-type]
    except CommError as error:
        log.warning("W&B: going on offline: %s", str(error).splitlines()[0])
        run = wandb.init(mode="offline", **arguments)
    if not run.disabled:
        log.info("W&B: %s", _upload(run) if run.offline else run.url)
    return run


def _upload(run: wandb.Run) -> str:
    return f"`wandb sync {shlex.quote(str(run.settings.sync_dir))}` uploads it"
