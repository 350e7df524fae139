"""A W&B run for Lightning: online, offline or neither, the same one when a training goes on."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from wandb.errors import CommError

from detbox.errors import MachineError
from detbox.tracking.loggers import Finishing
from detbox.tracking.metrics_file import Line
from detbox.tracking.resumed import Once, resumed_at
from detbox.tracking.wandb_artifact import keep_artifact
from detbox.tracking.wandb_history import STEP, Row, history, store_id, stored_id

log = logging.getLogger(__name__)


def wandb_logger(
    folder: Path,
    config: Mapping[str, Any],
    *,
    mode: str,
    init_seconds: float,
    finish_seconds: float,
    best: Path | None = None,
    upload_seconds: float = 0.0,
    **init: Any,
) -> RunLogger:
    """Start a run, offline where it cannot be online, and wrap it for Lightning.

    Args:
        folder: the run's files go into `folder/wandb`.
        config: the resolved configuration.
        mode: auto: online with an API key, else offline.
        init_seconds: a server that does not answer for so long counts as unreachable.
        finish_seconds: for the last uploads; what is left stays on disk for `wandb sync`.
        best: file to keep as an artifact when the run ends well; None: none.
        upload_seconds: for that file.
        init: passed to `wandb.init`, such as project, name, tags, group.

    Raises:
        RuntimeError: online was asked for and there is no API key.
    """
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return RunLogger(offline=True, project=init.get("project"))
    mode = _effective(mode)
    folder.mkdir(parents=True, exist_ok=True)
    at = resumed_at(folder, config)
    known = None if at is None else stored_id(folder)
    settings = wandb.Settings(
        init_timeout=init_seconds,
        finish_timeout=finish_seconds,
        finish_timeout_raises=True,
        silent=True,
        console="off",
    )
    # A run that a failed job left open must not take the next job's figures.
    arguments = {**init, "dir": str(folder), "config": dict(config), "reinit": "finish_previous"}
    before: list[Row] | None = None
    if known:
        arguments |= {"id": known, "resume": "allow"}
        before = history(folder, known)
    run = _start(mode, settings=settings, **arguments)
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for name in ("val/AP", "val_raw/AP"):
        run.define_metric(name, step_metric=STEP, step_sync=True, summary="max")
    logger = RunLogger(experiment=run, project=init.get("project"), save_dir=folder)
    logger.best, logger.upload_seconds = best, upload_seconds
    if not run.disabled:
        store_id(folder, run.id)
        if before is not None:
            logger.go_on(before, at or 0)
    return logger


class RunLogger(Finishing, WandbLogger):
    """Lightning's W&B logger, but whatever befalls W&B, the training goes on.

    Args:
        settings: of Lightning's logger.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._once = Once()

    best: Path | None = None
    """to keep as an artifact when the run ends well"""
    upload_seconds = 0.0
    _lost = False
    _last: int | None = None
    _number: int | None = None

    def go_on(self, before: Sequence[Row], at: int) -> None:
        """Add to what the run was told, and tell nothing twice.

        Args:
            before: rows of the run's files; a server may lack the last of them.
            at: optimizer steps behind which the training goes on.
        """
        if self.experiment.offline:  # where W&B counts from 0 again, as if these were rows of old
            self._number = 1 + max((row.number for row in before), default=-1) or None
        else:
            before = [row for row in before if row.number < self.experiment.starting_step]
        self._last = max((row.step for row in before), default=-1)
        again = [row for row in before if row.step >= min(at - 1, self._last)]
        self._once = Once((row.step, name) for row in again for name in row.names)

    def catch_up(self, before: Sequence[Line]) -> None:
        """Log what was lost on the way to W&B when the run was killed.

        Args:
            before: rows of `metrics.csv` from before.
        """
        if self._last is not None:
            for step, figures in before:
                if step >= self._last:
                    self.log_metrics(figures, step)
                    self._once.add(step, figures)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log what is new, or say once that W&B is lost."""
        new = self._once(metrics, step)
        if self._lost or not new:
            return
        try:
            if self._number is None:
                super().log_metrics(new, step)
            else:
                self.experiment.log({**new, STEP: step}, step=self._number, commit=True)
                self._number = None  # W&B counts on from there
        except Exception as error:  # of many kinds: W&B's own, a broken pipe to its process
            self._lost = True
            log.warning("W&B: lost, the figures go on into metrics.csv: %s", error)

    def finish(self, *, failed: bool = False) -> None:
        """End the run; waits for uploads, but not for long."""
        if self.best is not None and not failed and not self._lost:
            keep_artifact(self.experiment, self.best, self.upload_seconds)
        try:
            self.experiment.finish(exit_code=int(failed))
        except Exception as error:  # as above
            log.warning("W&B: the run is not complete on the server: %s", error)
            log.warning("W&B: %s", _upload(self.experiment))


def _effective(mode: str) -> str:
    """The mode for `wandb.init`, chosen so that it never asks for a key."""
    if mode == "auto" and "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    if mode not in ("auto", "online") or has_key():
        return mode.replace("auto", "online")
    if mode == "online":
        advice = "run `wandb login`, or choose logger.mode=auto or offline"
        raise MachineError(f"logger.mode=online needs an API key and found none; {advice}")
    log.info("W&B: no API key found, so the run is offline; `wandb login` stores a key")
    return "offline"


def has_key() -> bool:
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
