"""What is typed outranks an experiment: also the values that a typed option itself states.

Hydra composes an experiment behind all options, so that its values go over theirs. Those of an
option that a person typed beside it (`experiment=NAME trainer=smoke`) are typed out for Hydra here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from detbox.messages import some
from detbox.plugins import PluginFolders

logger = logging.getLogger("detbox")

GROUP = "experiment"


def outranked(arguments: Sequence[str]) -> list[str]:
    """A command line on which values of typed options stand where an experiment has others.

    They come first, so that values that were typed themselves go over them. Of options that a
    sweep varies a line says which of their values stay the experiment's.
    """
    chosen = dict(_choices(arguments))
    recipes = chosen.pop(GROUP, [])
    theirs = {key for name in recipes for key in _stated(GROUP, name)}
    added: dict[str, Any] = {}
    for group, names in chosen.items():
        ours = {
            f"{group}.{key}": value for each in names for key, value in _stated(group, each).items()
        }
        clashing = {key: value for key, value in ours.items() if key in theirs}
        if len(names) == 1:
            added.update(clashing)
        elif kept := [key for key in clashing if key not in chosen]:
            logger.warning(
                "%s=%s sets %s for all jobs of the sweep over %s; give what shall differ itself",
                *(GROUP, ",".join(recipes), some(kept), group),
            )
    return [*(f"{key}={_text(value)}" for key, value in added.items()), *arguments]


def stated_keys(arguments: Sequence[str]) -> set[str]:
    """Keys of the values that typed options state; those of experiments are nobody's choice."""
    return {
        f"{group}.{key}"
        for group, names in _choices(arguments)
        for key in (key for name in names for key in _stated(group, name))
        if group != GROUP
    }


def _choices(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Groups and their options among the arguments; a sweep has several."""
    for argument in arguments:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:  # flags, and what Hydra itself will refuse
            continue
        if override.is_interval_sweep():  # numbers, which only a search draws
            continue
        swept = override.is_sweep_override()
        values = list(override.sweep_string_iterator()) if swept else [override.value()]
        yield override.key_or_group, [each for each in values if isinstance(each, str)]


def _stated(group: str, option: str) -> dict[str, Any]:
    """The values that an option's file states, and those of the options it starts from."""
    found: dict[str, Any] = {}
    content = _read(group, option)
    for default in content.pop("defaults", []):
        if isinstance(default, str) and default != "_self_" and not default.startswith("/"):
            found.update(_stated(group, default))
    return {**found, **dict(_flat(content))}


def _read(group: str, option: str) -> dict[str, Any]:
    for package in ("detbox.conf", *PluginFolders.found()):
        folder = files(package).joinpath(*group.split("/"))
        file = folder / f"{option}.yaml"
        if file.is_file():
            content = OmegaConf.create(file.read_text(encoding="utf-8"))
            return cast("dict[str, Any]", OmegaConf.to_container(content))
    return {}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    """As Hydra reads it."""
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)
