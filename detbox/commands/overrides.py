"""What a person typed, as Hydra reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from detbox.outranking import stated_keys


def typed(arguments: Sequence[str]) -> dict[str, Any]:
    """Keys and values of the overrides among a command line's arguments."""
    found: dict[str, Any] = {}
    for argument in arguments:
        with suppress(HydraException):  # flags, and what Hydra itself will refuse
            override = OverridesParser.create().parse_override(argument)
            found[override.key_or_group] = _plain(override.value())
    return found


def _plain(value: Any) -> Any:
    """Text as a configuration gives it: an escaped `${` is no reference to another setting."""
    if not isinstance(value, str):
        return value
    return re.sub(r"(?<!\\)((?:\\\\)*)\\\$\{", lambda m: m[1][::2] + "${", value)


def typed_keys() -> list[str]:
    """Keys that the running command was given; none outside a command."""
    if not HydraConfig.initialized():
        return []
    return list(typed(HydraConfig.get().overrides.task))


def chosen_keys() -> list[str]:
    """Those, and what their options state, such as `trainer.max_epochs` of `trainer=smoke`."""
    if not HydraConfig.initialized():
        return []
    return [*typed_keys(), *stated_keys(HydraConfig.get().overrides.task)]
