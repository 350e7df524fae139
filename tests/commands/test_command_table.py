"""One table of commands, which answers before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny import environment

import detbox
from detbox.commands.table import COMMANDS, bound
from detbox.errors import SettingError
from detbox.usage import of_command, overview

HEAVY = ("lightning", "timm", "torchmetrics", "transformers", "wandb", "scipy")
PROGRAM = """
import sys
try:
    {statement}
finally:
    print("loaded:", *sorted({{each.partition(".")[0] for each in sys.modules}}))
"""
COMMAND = "sys.argv = ['train.py', {!r}]; from detbox.cli import main; main('train')"
LIGHT = {
    "from detbox.structures import Targets": (*HEAVY, "hydra"),
    "sys.argv = ['detbox', '--version']; from detbox.cli import main; main()": (*HEAVY, "torch"),
    "sys.argv = ['detbox']; from detbox.cli import main; main()": HEAVY,
    COMMAND.format("--help"): HEAVY,
    COMMAND.format("--cfg=job"): HEAVY,
    COMMAND.format("model=dinoo"): HEAVY,
}


@pytest.mark.parametrize("statement", LIGHT)
def test_what_needs_no_framework_imports_none(statement: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement)],
        env=environment(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    loaded = set(done.stdout.splitlines()[-1].removeprefix("loaded: ").split())
    assert "detbox" in loaded
    assert not loaded & set(LIGHT[statement]), done.stderr


def test_the_overview_names_every_command() -> None:
    told = overview()
    assert all(f"  {name} " in told for name in COMMANDS.names())


def test_help_shows_choices_and_the_file_s_own_comments() -> None:
    told = of_command("convert_checkpoint")
    assert told.startswith("Read an official checkpoint")
    assert "  model=conditional_detr " in told
    assert "strict: true # false: fill what fits and report the rest" in told


def test_help_shows_the_parameters_of_a_command_without_a_file() -> None:
    told = of_command("predict")
    assert "  ckpt: ???\n  source: null\n  threshold: 0.3\n" in told
    assert "choices" not in told


def test_a_command_names_the_setting_that_is_missing() -> None:
    with pytest.raises(SettingError, match=r"ckpt is missing; give ckpt=RUN"):
        bound("predict", detbox.compose(config_name="predict"))


def test_a_run_is_not_named_by_a_setting_of_the_table() -> None:
    cfg = detbox.compose("ckpt=x", "name=first", config_name="predict")
    with pytest.raises(SettingError, match=r"here it is hydra\.run\.dir=runs/first"):
        bound("predict", cfg)
