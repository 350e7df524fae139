"""Where figures go: a CSV file always, W&B or TensorBoard where it is asked for, imported then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_utilities.core.rank_zero import rank_zero_only

from detbox.ranges import NonNegative
from detbox.registry import LOGGERS
from detbox.runfile import SLIM
from detbox.tracking.resumed import resumed_at

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from detbox.tracking.metrics_file import MetricsFile


def build_loggers(
    settings: Mapping[str, Any], folder: Path, config: Mapping[str, Any]
) -> list[Logger]:
    """The loggers that `settings["name"]` names, the CSV file first.

    Args:
        settings: `name` and the keyword-only parameters of that logger.
        folder: of the run.
        config: the resolved configuration as plain containers; every logger keeps it.

    Raises:
        KeyError: unknown logger or setting.
        ValueError: unknown mode.
    """
    loggers: list[Logger] = LOGGERS.build(settings, folder, config)
    return loggers


class Finishing(ABC):
    """A logger whose run has an end of its own."""

    @abstractmethod
    def finish(self, *, failed: bool = False) -> None:
        """End the run."""


def close_loggers(loggers: Sequence[Logger], *, failed: bool = False) -> None:
    """End the W&B run, so that the next job of a multirun gets its own; CSV needs no end."""
    for logger in loggers:
        if isinstance(logger, Finishing):
            logger.finish(failed=failed)


@LOGGERS.register("csv")
def csv(folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    """`metrics.csv` in the run folder, the configuration beside it as `hparams.yaml`.

    A run that goes on in its folder adds rows; those of steps that it does again are dropped. The
    metrics of another run in the same folder are kept as `metrics-1.csv` and so on.
    """
    return [_metrics_file(folder, config)]


@LOGGERS.register("wandb")
def wandb(
    folder: Path,
    config: Mapping[str, Any],
    *,
    project: str = "detbox",
    run_name: str | None = None,
    mode: Literal["auto", "online", "offline", "disabled"] = "auto",
    tags: tuple[str, ...] = (),
    group: str | None = None,
    init_seconds: NonNegative = 20.0,
    finish_seconds: NonNegative = 8.0,
    upload_best: bool = False,
    upload_seconds: NonNegative = 600.0,
) -> list[Logger]:
    """The CSV file and a W&B run, which a run that goes on in its folder adds to.

    Args:
        folder: of the run.
        config: the resolved configuration as plain containers.
        project: of the run on the server.
        run_name: shown on the dashboard; None: W&B makes one up.
        mode: auto is online with an API key and offline without one; none of them ever asks.
        tags: of the run.
        group: of the run.
        init_seconds: after so long without an answer the run goes on offline.
        finish_seconds: for the last uploads; what is left stays on disk for `wandb sync`.
        upload_best: keep the best weights as an artifact, `detector-ID:best`, when the run ends
            well.
        upload_seconds: for that.
    """
    from detbox.tracking.wandb_run import wandb_logger

    run = wandb_logger(
        folder,
        config,
        mode=mode,
        init_seconds=init_seconds,
        finish_seconds=finish_seconds,
        best=folder / "checkpoints" / SLIM if upload_best else None,
        upload_seconds=upload_seconds,
        project=project,
        name=run_name,
        tags=list(tags),
        group=group,
    )
    metrics = _metrics_file(folder, config)
    run.catch_up(metrics.before)
    return [metrics, run]


@LOGGERS.register("tensorboard")
def tensorboard(folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    """The CSV file and TensorBoard's event files, which a run that goes on adds to.

    Raises:
        MachineError: TensorBoard is not installed.
    """
    from detbox.tracking.event_files import EventFiles

    metrics = _metrics_file(folder, config)
    events = EventFiles(folder, metrics.resumed_at, metrics.before)
    events.log_hyperparams(dict(config))
    return [metrics, events]


def _metrics_file(folder: Path, config: Mapping[str, Any]) -> MetricsFile:
    from detbox.tracking.metrics_file import MetricsFile

    at = None if rank_zero_only.rank else resumed_at(folder, config)  # type: ignore[attr-defined]
    if at is None:
        _make_way(folder / "metrics.csv")
    logger = MetricsFile(folder, at)
    logger.log_hyperparams(dict(config))
    return logger


@rank_zero_only
def _make_way(path: Path) -> None:
    if not path.exists():
        return
    number = 1
    while (kept := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    path.rename(kept)
