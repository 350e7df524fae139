"""The one table of commands; a plug-in registers its own in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from detbox.errors import SettingError
from detbox.foreign import translated
from detbox.registry import Registry

COMMANDS = Registry("command", "")
EXAMPLES = {
    **{"ckpt": "RUN/checkpoints/best.ckpt", "source": "FILE", "bundle": "RUN/black_box.pt"},
    **{"out": "NEW_FOLDER", "to": "coco"},
}
"""of settings that commands cannot do without, for messages"""
Run = TypeVar("Run", bound=Callable[..., Any])
_OF_CHECKPOINT: set[str] = set()
_IN_PLACE: set[str] = set()
_PATHS: dict[str, tuple[str, ...]] = {}
_BARE: dict[str, str] = {}


def register_command(
    name: str,
    *,
    data_of_ckpt: bool = False,
    paths: Sequence[str] = (),
    in_place: bool = False,
    bare: str | None = None,
) -> Callable[[Run], Run]:
    """Store a function `(cfg, folder, *, settings)` as `detbox NAME`; its first line is its help.

    Keyword-only parameters are its configuration, beside what all commands share
    (`conf/command.yaml`); a command that composes more has none and a file `conf/NAME.yaml`.

    Args:
        name: what a person types.
        data_of_ckpt: `data` is of the kind that `ckpt` was trained on, unless it is typed.
        paths: its settings that are files or folders; they may be typed with any characters.
        in_place: it needs no folder of its own.
        bare: the setting that is meant by a first argument without a key, `detbox NAME FILE`.

    Raises:
        KeyError: the name is taken.
    """

    def store(run: Run) -> Run:
        COMMANDS.register(name)(run)
        if COMMANDS.settings(name):
            defaults = ["command", {"schema/command@_here_": name}, "_self_"]
            ConfigStore.instance().store(name=name, node=OmegaConf.create({"defaults": defaults}))
        if data_of_ckpt:
            _OF_CHECKPOINT.add(name)
        if in_place:
            _IN_PLACE.add(name)
        _PATHS[name] = tuple(paths)
        if bare is not None:
            _BARE[name] = bare
        return run

    return store


def takes_data_of_ckpt(name: str) -> bool:
    """Whether a command works on the data of the checkpoint that it is given."""
    return name in _OF_CHECKPOINT


def works_in_place(name: str) -> bool:
    """Whether a command needs no folder of its own."""
    return name in _IN_PLACE


def paths_of(name: str) -> tuple[str, ...]:
    """The settings of a command itself that are files or folders."""
    return _PATHS.get(name, ())


def bare_of(name: str) -> str | None:
    """The setting of a command that an argument without a key stands for."""
    return _BARE.get(name)


def bound(name: str, cfg: DictConfig) -> Callable[..., Any]:
    """What a command does, with its settings taken from a configuration.

    Raises:
        SettingError: one that has no default is missing, or one is out of its range.
    """
    if (other := cfg.get("name", name)) != name:
        raise SettingError(f"{name} has no setting 'name'; {translated('name', other, bool)}")
    for key in map(str, cfg):
        if OmegaConf.is_missing(cfg, key):
            raise SettingError(f"{key} is missing; give {key}={EXAMPLES.get(key, 'VALUE')}")
    settings = {key: cfg[key] for key in COMMANDS.settings(name)}
    COMMANDS.check(name, settings)
    return partial(COMMANDS.builder(name), cfg, **settings)
