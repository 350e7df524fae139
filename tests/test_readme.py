"""Everything that README and configuration files tell people to type works as typed.

Conventions: ```bash blocks hold commands, one a line or continued by a backslash; each ```python
block runs alone. Checkpoints and pictures may have any name: tiny ones take their place.
"""

from __future__ import annotations

import json
import re
import shlex
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from PIL import Image
from tiny import MODEL, SHAPES

import detbox
from detbox import cli, registry
from detbox.build import build_module, plain
from detbox.commands.grammar import with_multirun
from detbox.commands.table import COMMANDS
from detbox.registry import Registry
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDES = (README, *(ROOT / "docs" / f"{name}.md" for name in ("sweeps", "slurm")))
"""whose commands are composed"""
STARTS = "python tools/"


def blocks(language: str) -> list[str]:
    """The contents of the code blocks in one language."""
    text = "\n".join(guide.read_text(encoding="utf-8") for guide in GUIDES if guide.is_file())
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(start: str = STARTS) -> list[str]:
    """The commands that start so, each on one line."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith(start)]


def headers() -> list[str]:
    """The command in the header of every configuration file; two blanks end it."""
    texts = [file.read_text(encoding="utf-8") for file in sorted((ROOT / "conf").rglob("*.yaml"))]
    lines = [re.search(rf"^# ({STARTS}.*?)(?:\s{{2}}|$)", text, re.MULTILINE) for text in texts]
    return [line[1] for line in lines if line]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training writes it, of a tiny detector that has learnt nothing."""
    cfg = detbox.compose(*MODEL, *SHAPES)
    module = build_module(cfg, LabelSpace(("disk", "star"), (1, 2)))
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    RunCheckpoint(plain(cfg), module.label_space, module.detector.state_dict()).write(path)
    return path


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small picture."""
    path = tmp_path_factory.mktemp("pictures") / "street.jpg"
    Image.fromarray(np.full((48, 64, 3), 128, dtype=np.uint8)).save(path)
    return path


def jobs(arguments: list[str]) -> list[list[str]]:
    """The overrides of every job: a multirun has one for each combination of values."""
    if not {"-m", "--multirun"} & set(with_multirun("train", arguments)):
        return [arguments]
    overrides = OverridesParser.create().parse_overrides([a for a in arguments if a[0] != "-"])
    choices = [
        [f"{each.get_key_element()}={value}" for value in drawn(each)]
        if each.is_sweep_override()
        else [str(each.input_line)]
        for each in overrides
    ]
    return [list(job) for job in product(*choices)]


def drawn(override: Override) -> list[str]:
    """All values that a sweep may take, or the ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    return list(override.sweep_string_iterator())


def compose_as_typed(command: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the command line to the tool with `--cfg job`, so that nothing runs."""
    _, tool, *arguments = shlex.split(command, comments=True)
    named = [re.sub(r"^ckpt=.*", f"ckpt={checkpoint}", each) for each in arguments]
    for job in jobs([each.replace("FILE|FOLDER|GLOB", "FILE") for each in named]):
        monkeypatch.setattr("sys.argv", [tool, *job, "--cfg", "job"])
        cli.main(Path(tool).stem)


@pytest.fixture(autouse=True)
def left_as_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder; forget parts that an example registers, and what was typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    for each in vars(registry).values():
        if isinstance(each, Registry):
            monkeypatch.setattr(each, "_parts", dict(each._parts))


def test_the_readme_shows_every_tool_and_the_python_surface() -> None:
    assert README.is_file()
    shown = {Path(command.split()[1]).stem for command in commands()}
    assert shown >= set(COMMANDS.names())
    assert any("detbox.load(" in block for block in blocks("python"))


def test_every_tool_and_make_target_in_a_command_exists() -> None:
    for command in commands():
        assert (ROOT / command.split()[1]).is_file(), command
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in commands("make "):
        assert command.split()[1] in targets, command


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_composes(
    command: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path(command.split()[1]).stem in COMMANDS.names():
        compose_as_typed(command, checkpoint, monkeypatch)


@pytest.mark.parametrize("command", headers())
def test_every_command_in_a_configuration_file_composes(
    command: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose_as_typed(command, checkpoint, monkeypatch)


def test_a_command_with_a_mistake_would_be_noticed(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("model=dinoo", "-m model.num_queries=100,many"):
        with pytest.raises(SystemExit):
            compose_as_typed(f"python tools/train.py {wrong}", checkpoint, monkeypatch)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block[:40])
def test_every_python_example_runs(
    block: str, checkpoint: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = detbox.compose

    def smaller(*overrides: str, **settings: str) -> object:
        """What the example asks for must compose; what is built from it is tiny."""
        compose(*overrides, **settings)
        return compose(*overrides, *MODEL, **settings)

    monkeypatch.setattr(detbox, "compose", smaller)
    for pattern, path in (("ckpt", checkpoint), ("jpe?g|png", picture)):
        block = re.sub(rf"([\"'])[^\"'\n]*\.(?:{pattern})\1", json.dumps(str(path)), block)
    exec(compile(block, str(README), "exec"), {"__name__": "example"})


def test_the_stand_in_is_a_checkpoint(checkpoint: Path) -> None:
    assert RunCheckpoint.read(checkpoint).trainer is None
    assert detbox.load(checkpoint, "cpu").names == ("disk", "star")
