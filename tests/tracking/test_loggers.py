"""Loggers and console: built from settings, kept apart, and quiet."""

from __future__ import annotations

import csv
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from training_toys import TRACKING, ToyModule, context, loader, trainer

from detbox.callbacks import assemble
from detbox.console.lines import quiet
from detbox.registry import LOGGERS
from detbox.tracking.loggers import build_loggers, close_loggers

CONF = Path(__file__).parents[2] / "conf" / "logger"


def test_each_logger_has_a_config_and_each_config_a_logger() -> None:
    assert sorted(path.stem for path in CONF.glob("*.yaml")) == LOGGERS.names()


def test_unknown_mode_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode has no choice 'off'; did you mean 'offline'"):
        build_loggers({"name": "wandb", "mode": "off"}, tmp_path, {})


def test_online_without_key_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(RuntimeError, match="needs an API key and found none; run `wandb login`"):
        build_loggers({"name": "wandb", "mode": "online"}, tmp_path, {})


@pytest.mark.slow
def test_csv_training_needs_no_wandb(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["wandb"] = None  # importing it now raises ImportError
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from training_toys import TRACKING, ToyModule, context, loader, trainer
from detbox.callbacks import assemble
from detbox.tracking.loggers import build_loggers, close_loggers
folder = Path({str(tmp_path)!r})
loggers = build_loggers({{"name": "csv"}}, folder, {{}})
fit = trainer(folder, logger=loggers, callbacks=assemble(TRACKING, context(folder, loggers)))
fit.fit(ToyModule(), loader(1), loader(1))
close_loggers(loggers)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "metrics.csv").stat().st_size > 0


def test_csv_run_keeps_config_and_every_figure(tmp_path: Path) -> None:
    quiet()
    loggers = build_loggers({"name": "csv"}, tmp_path, {"model": {"name": "dino"}})
    fit = trainer(
        tmp_path, logger=loggers, callbacks=assemble(TRACKING, context(tmp_path, loggers))
    )
    fit.fit(ToyModule(), loader(2), loader(1))
    close_loggers(loggers)
    assert yaml.safe_load((tmp_path / "hparams.yaml").read_text()) == {"model": {"name": "dino"}}
    with (tmp_path / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    assert {"train/loss", "train/grad_norm", "lr/backbone", "time/data"} <= columns
    assert {"loss_final/class", "loss_denoising/decoder1/l1"} <= columns


def test_figures_of_an_earlier_run_in_the_folder_are_kept(tmp_path: Path) -> None:
    for number in range(3):
        (logger,) = build_loggers({"name": "csv"}, tmp_path, {})
        logger.log_metrics({"run": number}, step=0)
        logger.save()
    texts = [path.read_text() for path in sorted(tmp_path.glob("metrics*.csv"))]
    assert sorted(text.split()[1].split(",")[0] for text in texts) == ["0", "1", "2"]


def test_quiet_fit_prints_nothing_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    quiet()
    trainer(tmp_path).fit(ToyModule(), loader(1), loader(1))
    assert capfd.readouterr() == ("", "")


def test_what_two_processes_say_on_starting_is_known(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        quiet()
        logger = logging.getLogger("lightning.fabric.utilities.distributed")
        logger.info("Initializing distributed: GLOBAL_RANK: 0, MEMBER: 1/2")
        logger.info("%s\ndistributed_backend=gloo\nAll registered.\n%s\n", "-" * 100, "-" * 100)
        for figure in ("val/loss", "val/other"):
            advice = f"It is recommended to use `self.log({figure!r}, ..., sync_dist=True)` when"
            warnings.warn(advice, UserWarning, stacklevel=1)
    (shown,) = capfd.readouterr().out.splitlines()
    assert "val/other" in shown


def test_unknown_warnings_and_lines_still_show(capfd: pytest.CaptureFixture[str]) -> None:
    quiet()
    logging.getLogger("lightning.pytorch").info("Something new happened")
    logging.getLogger("detbox.data").warning("skipped 3 images")
    logging.getLogger("detbox.data").info("%d images", 5)
    with pytest.warns(UserWarning, match="new trouble"):
        warnings.warn("new trouble", stacklevel=1)
    shown = capfd.readouterr().out.splitlines()
    assert shown == ["Something new happened", "warning: skipped 3 images", "5 images"]


def test_a_warning_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        quiet()
        warnings.warn("only 8 images are scored", UserWarning, stacklevel=1)
        warnings.warn("old name", FutureWarning, stacklevel=1)
    first, second = capfd.readouterr().out.splitlines()
    assert first == "warning: only 8 images are scored"
    assert second.startswith("warning: old name (FutureWarning, ")


def test_a_line_is_printed_once_however_often_quiet_is_called(
    capfd: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    root.addHandler(logging.StreamHandler(sys.stdout))
    for _ in range(3):
        quiet()
    logging.getLogger("detbox").info("once")
    assert capfd.readouterr().out == "once\n"
