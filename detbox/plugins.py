"""Other people's packages, imported before a configuration is composed so that their parts exist.

They are named by the entry points `detbox.plugins` of what is installed, by the environment
variable DETBOX_PLUGINS, and by the setting `plugins=[package]`. A package `conf` inside such a
package joins Hydra's search path, so its YAML files are options like detbox's own.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points, packages_distributions
from importlib.resources import files
from importlib.util import find_spec
from typing import ClassVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin

from detbox.errors import MissingFileError

logger = logging.getLogger("detbox")

GROUP = "detbox.plugins"
VARIABLE = "DETBOX_PLUGINS"
SETTING = "plugins"


class PluginFolders(SearchPathPlugin):
    """Tell Hydra of the configuration folders of what was imported."""

    loaded: ClassVar[list[str]] = []

    @classmethod
    def found(cls) -> list[str]:
        """The packages with configuration files."""
        return [f"{module}.conf" for module in cls.loaded if _exists(f"{module}.conf")]

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append each package's `conf`."""
        for package in self.found():
            search_path.append("detbox-plugins", f"pkg://{package}")


def groups() -> list[str]:
    """The configuration groups of detbox that a person chooses from."""
    return sorted(each.name for each in files("detbox.conf").iterdir() if each.is_dir())


def options(group: str) -> Iterator[str]:
    """What a configuration group has to choose from, here and in plug-ins."""
    for package in ("detbox.conf", *PluginFolders.found()):
        folder = files(package).joinpath(*group.split("/"))
        if folder.is_dir():
            yield from (each.name[:-5] for each in folder.iterdir() if each.name.endswith(".yaml"))


def load_plugins(named: Iterable[str] = ()) -> list[str]:
    """Import the plug-ins of this machine and those that are named; each registers its parts.

    A plug-in that fails while it is imported keeps its own traceback.

    Args:
        named: modules, as a person names them.

    Returns:
        All modules that were imported so far, the first first.

    Raises:
        MissingFileError: a named module is not installed.
    """
    Plugins.instance().register(PluginFolders)
    for module in dict.fromkeys([*_installed(), *_in_environment(), *named]):
        if not _exists(module):
            raise MissingFileError(
                f"plug-in {module!r} is not installed here; expected a module that Python can "
                f"import: pip install {module.partition('.')[0]}, or leave it out of plugins="
            )
        try:
            import_module(module)
        except Exception:
            logger.error(
                "plug-in %r failed while it was imported: %s", module, _to_do_without(module)
            )
            raise
        if module not in PluginFolders.loaded:
            PluginFolders.loaded.append(module)
    return list(PluginFolders.loaded)


def _to_do_without(module: str) -> str:
    if module in _installed():
        return f"mend it, or go without it: pip uninstall {module.partition('.')[0]}"
    return f"mend it, or leave it out of {SETTING}= and {VARIABLE}"


def load_stored(named: Iterable[str]) -> None:
    """Import what a run's file names, if it is installed or imported already.

    A file must not choose code: a module that merely lies in the current folder is not taken.

    Raises:
        MissingFileError: a module is neither installed nor imported.
    """
    for module in named:
        if module not in sys.modules and module.partition(".")[0] not in _distributed():
            raise MissingFileError(
                f"the checkpoint needs the plug-in {module!r}, which is not installed here: "
                f"pip install {module.partition('.')[0]}, or name it yourself: {VARIABLE}={module}"
            )
    load_plugins(named)


def named_in(overrides: Sequence[str]) -> list[str]:
    """The modules of `plugins=[…]` among a command line's arguments; Hydra judges the others."""
    found: list[str] = []
    for argument in overrides:
        if not argument.lstrip("+").startswith(f"{SETTING}="):
            continue
        try:
            value = OverridesParser.create().parse_override(argument).value()
        except HydraException:
            continue
        found += [str(each) for each in (value if isinstance(value, list) else [value])]
    return found


@cache
def _distributed() -> frozenset[str]:
    return frozenset(packages_distributions())


@cache
def _installed() -> list[str]:
    return sorted(point.module for point in entry_points(group=GROUP))


def _in_environment() -> list[str]:
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a part before a dot is absent
        return False
