"""Paths as a shell passes them, written so that Hydra's grammar reads them back unchanged."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from detbox.commands.table import bare_of, paths_of
from detbox.commands.values import elements, parsed, written_names
from detbox.data.paths import name_settings, path_settings, settings_of_several_paths
from detbox.errors import MissingFileError, SettingError, UnknownNameError
from detbox.messages import literal, near, quoted
from detbox.places import located
from detbox.plugins import options

DATA = "data"
WRITTEN = ("hydra.run.dir", "hydra.sweep.dir")
COMMON = ("backbone.weights", *WRITTEN)
"""paths that no builder of data and no command has among its own settings"""
SWEEP = ("-m", "--multirun")
_OVERRIDE = re.compile(r"(\+{0,2})([\w.]+)=(.+)", re.DOTALL)


def readable(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments with paths and names quoted where Hydra would refuse them or read other ones.

    What is there under the name as typed is meant, whatever the grammar makes of it; else the
    grammar decides, and what it refuses is taken as it is. `data=FOLDER` becomes `data=folder
    data.root=FOLDER`.

    Args:
        command: name of it.
        arguments: of the command line.

    Raises:
        MissingFileError, UnknownNameError: `data=` names neither an option nor a folder.
        SettingError: no file can have such a name, or Hydra cannot write there.
    """
    _check_written("the current folder", os.getcwd())
    keys = {*COMMON, *paths_of(command), *(f"{DATA}.{key}" for key in path_settings())}
    lists = {f"{DATA}.{key}" for key in settings_of_several_paths()}
    names = {f"{DATA}.{key}" for key in name_settings()}
    sweeps = any(each in SWEEP for each in arguments)
    result: list[str] = []
    for argument in _with_braces(_with_keys(arguments, bare_of(command)), names):
        match = _OVERRIDE.fullmatch(argument)
        plus, key, text = match.groups() if match else ("", "", "")
        if key in WRITTEN and _is_prefix_there(text):
            _check_written(key, text)
        if key == DATA:
            result += _choice_of_data(argument, text, sweeps)
        elif key in names:
            result.append(f"{plus}{key}={written_names(text, sweeps)}")
        elif key in keys:
            written = _paths if key in lists else _path
            result.append(f"{plus}{key}={written(text, sweeps)}")
        else:
            result.append(argument)
    return result


def _with_keys(arguments: Sequence[str], bare: str | None) -> list[str]:
    """With the key of the setting that a first argument without one stands for."""
    first = arguments[0] if arguments else "-"
    if bare is None or first.startswith("-") or _OVERRIDE.fullmatch(first):
        return list(arguments)
    return [f"{bare}={first}", *arguments[1:]]


def _with_braces(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """With what a shell makes of `KEY={A:B,C:D}`, `KEY=A:B KEY=C:D`, as the one list it was."""
    result = list(arguments)
    for key in names:
        alike = [each for each in arguments if each.startswith(f"{key}=")]
        texts = [each.removeprefix(f"{key}=") for each in alike]
        if len(texts) > 1 and not any(text[:1] in ("[", "{") for text in texts):
            result[result.index(alike[0])] = f"{key}=[{','.join(texts)}]"
            result = [each for each in result if each not in alike]
    return result


def _check_written(what: str, folder: str) -> None:
    """Hydra puts the folders that it writes to into its own configuration as they are."""
    if "${" in folder:
        raise SettingError(
            f"{what}: Hydra takes ${{ in {folder} for a reference to a setting; choose a folder "
            "without it to work and write in, data and checkpoints may lie anywhere"
        )


def _paths(text: str, sweeps: bool) -> str:
    """One path, or a list of them."""
    listed = None if sweeps or _is_there(text) else elements(text)
    return _path(text, sweeps) if listed is None else _list(listed)


def _list(paths: Sequence[str]) -> str:
    return f"[{','.join(quoted(_without_interpolation(str(located(path)))) for path in paths)}]"


def _path(text: str, sweeps: bool) -> str:
    """A path as Hydra's grammar has it; several of them in a sweep."""
    if _is_there(text):
        return _literal(text)
    value = parsed(text)
    if isinstance(value, str) and not value == text.strip() != text:  # Hydra drops spaces
        place = str(located(value))
        moved = value.startswith("~") or not value.isascii()
        return _literal(place) if moved and place != value else text
    if text.lower() == "null" or (sweeps and value is not None):
        return text
    if sweeps and "," in text:
        return ",".join(_path(each, False) for each in text.split(","))
    return _literal(text)


def _choice_of_data(argument: str, text: str, sweeps: bool) -> list[str]:
    """The folders that stand where an option is expected, as settings; else the argument."""
    value = parsed(text)
    whole = value if isinstance(value, str) and not _is_there(text) else text
    names = text.split(",") if sweeps and not _is_there(whole) else [whole]
    known = sorted(set(options(DATA)))
    if (listed := None if sweeps or _is_there(text) else elements(text)) is not None:
        for name in listed:
            _check_folder(name, known)
        return [f"{DATA}=folder", f"{DATA}.root={_list(listed)}"]
    others = [name for name in names if name not in known]
    if not others:
        return [argument]
    for name in others:
        _check_folder(name, known)
    if len(others) < len(names):
        raise UnknownNameError(
            f"{argument}: expected options or folders, got both; sweep over one of the two"
        )
    roots = ",".join(_literal(str(located(name))) for name in names)
    return [f"{DATA}=folder", f"{DATA}.root={roots}"]


def _check_folder(name: str, known: Sequence[str]) -> None:
    if os.path.isdir(located(name)):
        return
    if located(name).is_file() or Path(name).suffix in (".json", ".yaml", ".yml"):
        raise SettingError(
            f"{DATA}={name}: expected a folder, got a file; give the folder above it, or "
            f"{DATA}=coco with {DATA}.root, {DATA}.train_annotations and {DATA}.val_annotations"
        )
    if name.startswith((".", "~")) or os.path.dirname(name):
        raise MissingFileError(
            f"{DATA}={name}: there is no folder {located(name)}; "
            f"give a folder, or choose one of {', '.join(known)}"
        )
    here = f"no such option, and no such folder in {os.getcwd()}"
    raise UnknownNameError(f"{DATA}={name}: {here}{near(name, known)}")


def _is_there(text: str) -> bool:
    return os.path.exists(located(text))


def _literal(text: str) -> str:
    """A value that Hydra and OmegaConf read back as it is, quoted if need be."""
    place = text if located(text) == Path(text) else str(located(text))
    if place == "???":  # OmegaConf's word for a missing value
        place = f"./{place}"
    is_plain = parsed(place) == place and not re.search(r"['\"]|\$\{", place)
    return place if is_plain else quoted(_without_interpolation(place))


def _without_interpolation(text: str) -> str:
    """With `${` escaped for OmegaConf, unless that is an interpolation such as `${now:%H}`."""
    if re.search(r"\$\{[^${}]+\}", text) and not _is_prefix_there(text):
        return text
    return literal(text)


def _is_prefix_there(text: str) -> bool:
    """Whether the folder is there whose name has the `${`."""
    start, mark, rest = text.partition("${")
    return os.path.exists(start + mark + rest.partition("/")[0])
