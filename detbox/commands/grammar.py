"""What Hydra's grammar does not take, and what was meant by it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from hydra._internal.utils import get_args_parser

from detbox.commands.arguments import SWEEP
from detbox.commands.overrides import typed
from detbox.completion import FLAGS
from detbox.errors import SettingError
from detbox.messages import EXAMPLE, some
from detbox.messages import typed as spelled
from detbox.plugins import groups, options

SETTING = re.compile(r"(~|\+{0,2}[^-+=][^=]*=)")
LIST = re.compile(r"[^\[({'\",]+(,[^\[({'\",]+)+")
"""commas outside of brackets and quotation marks"""
SHOWING = re.compile(
    r"(--cfg|--info|-c|-i)(=?(job|hydra|all\b).*)?|--hydra-help|--resolve|-sc|--sh.*"
)
"""flags of Hydra with which nothing runs"""
OF_SWEEPS = {"launcher", "search", "hydra/launcher", "hydra/sweeper"}
"""groups that only a multirun has a use for"""
SEARCH = {"hydra/sweeper=optuna": "search=optuna"}
"""Hydra's options that maximize nothing, and those of detbox that are meant"""


def with_multirun(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments with `-m` where an option among them is for sweeps; Hydra would ignore it.

    Args:
        command: name of it.
        arguments: of the command line.
    """
    if command == "train":
        arguments = [SEARCH.get(each, each) for each in arguments]
    sweeps = any(each in SWEEP or SHOWING.fullmatch(each) for each in arguments)
    if sweeps or OF_SWEEPS.isdisjoint(typed(arguments)):
        return list(arguments)
    return ["-m", *arguments]


def flags_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with settings behind flags: argparse takes settings in one piece alone."""
    if any(each.startswith(("-sc", "--sh")) for each in arguments):  # takes a word with "="
        return list(arguments)
    settings = [each for each in arguments if SETTING.match(each)]
    return [*(each for each in arguments if not SETTING.match(each)), *settings]


def check_grammar(arguments: Sequence[str]) -> None:
    """Refuse arguments that are no settings, before Hydra words it.

    Args:
        arguments: of the command line.

    Raises:
        SettingError: the first of them, and how it is typed.
    """
    flags = [option for each in get_args_parser()._actions for option in each.option_strings]
    sweeps = any(each in SWEEP for each in arguments)
    if sweeps and any(each.startswith(("--cfg", "-c", "--info", "-i")) for each in arguments):
        raise SettingError("--cfg and --info show the configuration of one job; leave -m out")
    if arguments and arguments[-1] in FLAGS:
        raise SettingError(f"{arguments[-1]}: give install=bash, or fish or zsh")
    for argument, following in pairwise([*arguments, ""]):
        key, equals, value = argument.partition("=")
        if not argument.strip():
            raise SettingError(f"an argument is empty: a variable of the shell? expected {EXAMPLE}")
        if key.startswith("--"):
            _check_flag(argument, following, flags)
        elif equals and not key:
            raise SettingError(f"{argument}: a key is missing before '='; give KEY{argument}")
        elif equals and not value and key in groups():
            raise SettingError(f"{argument}: give one of {some(sorted(options(key)), 40)}")
        elif equals and not sweeps and LIST.fullmatch(value) and re.fullmatch(r"[\w.+]+", key):
            raise SettingError(
                f"{argument}: several values are a sweep, with -m; one list is {key}=[{value}], "
                f"a text {spelled(key, value)}, and a decimal has a point"
            )


def _check_flag(argument: str, following: str, flags: Sequence[str]) -> None:
    name, equals, value = argument.partition("=")
    if any(each.startswith(name) for each in flags):
        return
    value = value if equals else following
    key = name.lstrip("-").replace("-", "_")
    is_value = value and (equals or "=" not in value)
    meant = f"{key}={value}" if is_value else f"{key}=VALUE"
    raise SettingError(f"{argument}: settings are typed without dashes; give {meant}, {EXAMPLE}")
