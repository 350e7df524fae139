"""What `--help` prints: the commands, or the choices and settings of one."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from textwrap import dedent, fill, indent
from typing import Any

from omegaconf import ListConfig, OmegaConf

from detbox.commands.table import COMMANDS
from detbox.plugins import options

_ALL = """\
detbox {version}: train DETR-family detectors

  detbox COMMAND [KEY=VALUE ...]     the same: python -m detbox COMMAND, python tools/COMMAND.py

{commands}

  detbox COMMAND --help              what one does, its choices and settings
  detbox COMMAND --cfg job           the configuration it would run with
  detbox --version"""
_ONE = """\
{told}

  detbox {name} [KEY=VALUE ...]

{choices}{settings}
all settings as they would be: detbox {name} --cfg job     Hydra's own options: --hydra-help"""


def overview() -> str:
    """All commands, one line each."""
    told = {name: _told(name).split("\n")[0] for name in COMMANDS.names()}
    width = max(map(len, told))
    lines = [f"  {name:<{width}}  {line}" for name, line in told.items()]
    return _ALL.format(version=version("detbox"), commands="\n".join(lines))


def of_command(name: str) -> str:
    """What a command does, what can be chosen and set."""
    groups = _groups(name)
    lines = [_wrapped(group) for group in groups]
    choices = "choices:\n" + "\n".join(lines) + "\n\n" if lines else ""
    settings = f"settings:\n{indent(_settings(name), '  ')}\n"
    return _ONE.format(told=_told(name), name=name, choices=choices, settings=settings)


def _wrapped(group: str) -> str:
    return fill(
        " ".join(sorted(options(group))),
        width=100,
        initial_indent=f"  {group}=",
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _told(name: str) -> str:
    """A command's docstring as far as it is about what happens, not about arguments."""
    text = inspect.getdoc(COMMANDS.builder(name)) or ""
    return text.split("\n\nArgs:")[0].split("\n\nReturns:")[0].split("\n\nRaises:")[0]


def _groups(name: str) -> list[str]:
    """The groups among the defaults of a command's file and of those it starts from."""
    found: list[str] = []
    for default in _defaults(name):
        if isinstance(default, str) and default not in ("_self_", name):
            found += _groups(default)
        elif not isinstance(default, str):
            found += [str(key) for key in default if " " not in str(key)]
    return list(dict.fromkeys(found))


def _defaults(name: str) -> list[Any]:
    file = _conf() / f"{name}.yaml"
    if not file.is_file():
        return []
    defaults = OmegaConf.create(file.read_text(encoding="utf-8")).get("defaults", [])
    return list(defaults) if isinstance(defaults, ListConfig) else []


def _settings(name: str) -> str:
    """The end of a command's file with its comments, or its parameters with their defaults."""
    file = _conf() / f"{name}.yaml"
    if file.is_file():
        text = file.read_text(encoding="utf-8").partition("\n\n")[2]
        return dedent(text.split("\nhydra:")[0]).strip()
    parameters = inspect.signature(COMMANDS.builder(name)).parameters
    defaults = {key: parameters[key].default for key in COMMANDS.settings(name)}
    return "\n".join(f"{key}: {_default(value)}" for key, value in defaults.items())


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "???"
    return "null" if value is None else str(value)


def _conf() -> Traversable:
    return files("detbox.conf")
