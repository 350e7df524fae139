"""Hydra's errors in one sentence, with the nearest names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detbox.build import compose
from detbox.foreign import translated
from detbox.messages import EXAMPLE, near, typed
from detbox.places import located
from detbox.plugins import groups, options

PACKAGES = {
    ("hydra/launcher", "joblib"): "hydra-joblib-launcher",
    ("hydra/launcher", "submitit_local"): "hydra-submitit-launcher",
    ("hydra/launcher", "submitit_slurm"): "hydra-submitit-launcher",
    ("hydra/sweeper", "optuna"): "hydra-optuna-sweeper",
}
"""of options that are Hydra's plug-ins, all of them in the extra `sweep`"""
WEIGHTS = {".pth", ".pt", ".ckpt", ".safetensors", ".bin"}


def explain(error: Exception, overrides: Sequence[str], config_name: str) -> str:
    """What was wrong with the command line, what was expected, and the nearest names.

    Args:
        error: raised while Hydra composed.
        overrides: the command line's arguments.
        config_name: `train`, `evaluate` or `predict`.
    """
    chain = _chain(error)
    text = "\n".join(str(each) for each in chain)
    if found := re.search(r"Could not find '([^']+)/([^/']+)'", text):
        known = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return _unknown_option(found[1], found[2], known, overrides)
    wrong = next((o for o in overrides if not _is_setting(o)), "")
    if wrong and re.search("missing EQUAL|extraneous input|mismatched input|token recog", text):
        return f"{wrong}: expected key=value, {EXAMPLE}{_meant(wrong)}"
    if found := re.search(r"Key '([^']+)' (?:not in|is not in)", text):
        full = re.search(r"full_key: (\S+)", text)
        file = re.match(r"In '([^']+)': ConfigKeyError", text)
        key, setter = full[1] if full else found[1], file[1] if file else ""
        return _unknown_key(key, overrides, config_name, setter)
    if found := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(found[1], overrides, config_name)
    # OmegaConf's innermost error is a template that the one around it fills in.
    told = [str(each).strip() for each in chain if "$" not in str(each)]
    last = told[-1].splitlines() if told else []
    key = re.search(r"full_key: (\S+)", text)
    where = next((o for o in overrides if key and o.lstrip("+~").startswith(key[1])), "")
    return f"{where + ': ' if where else ''}{last[0]}" if last else type(error).__name__


def _is_setting(argument: str) -> bool:
    """Whether it is a flag, a deletion, or has a key that Hydra can read."""
    return bool(re.match(r"[-~]|\+{0,2}[\w.@/:]+=", argument) and argument[:1] != "/")


def _meant(argument: str) -> str:
    """What a path alone may stand for."""
    path = located(argument)
    if (path / "checkpoints").is_dir():
        return f"; a run is {typed('ckpt', argument)}"
    if path.is_dir():
        return f"; a folder of pictures and labels is {typed('data', argument)}"
    return f"; a checkpoint is {typed('ckpt', argument)}" if path.is_file() else ""


def _unknown_option(group: str, option: str, known: Sequence[str], overrides: Sequence[str]) -> str:
    """What to say of an option that a group does not have: a file, another group's, a misspelt."""
    if package := PACKAGES.get((group, option)):
        return (
            f"{group}={option} needs the package {package}, which is not installed here; "
            'pip install "detbox[sweep]"'
        )
    wrong = next((o for o in overrides if o.endswith(option) and "=" in o), f"{group}={option}")
    group, _, value = wrong.partition("=")
    if "/" in value or "\\" in value or Path(value).suffix in WEIGHTS:
        key = "backbone.weights" if group == "backbone" else "init"
        return f"{wrong}: expected an option, got a file; its weights are given by {key}={value}"
    elsewhere = [f"{each}={value}" for each in groups() if value in options(each)]
    if elsewhere:
        return f"{wrong}: no such option; did you mean {' or '.join(elsewhere)}?"
    return f"{wrong}: no such option{near(option, known)}"


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what caused it, outermost first."""
    cause = error.__cause__ or error.__context__
    return [
        error,
        *(
            _chain(cause)
            if cause and isinstance(cause, (HydraException, OmegaConfBaseException))
            else []
        ),
    ]


def _unknown_key(key: str, overrides: Sequence[str], config_name: str, setter: str = "") -> str:
    """What to say of a key that does not exist, and was typed, or set by the file `setter`."""
    section, _, name = key.rpartition(".")
    cfg = _known([each for each in overrides if _key(each) != key], config_name)
    node = OmegaConf.select(cfg, section) if section else None
    known = node if isinstance(node, DictConfig) else cfg
    if setter and isinstance(node, DictConfig) and name in node:  # another option has it
        return (
            f"{setter} sets {key}, which the chosen {section} does not have; choose another "
            f"{section}, or give its builder a setting {name!r}"
        )
    where = section if isinstance(node, DictConfig) else "the configuration"
    value = next((o.partition("=")[2] for o in overrides if _key(o) == key), "VALUE")
    if elsewhere := _called_here(key, value, cfg):
        return f"{key}: {where} has no key {name!r}; {elsewhere}"
    if having := [each for each in _with_key(section, name) if each != cfg[section].get("name")]:
        told = " or ".join(f"{section}={each}" for each in having[:3])
        return f"{key}: the chosen {section} has no key {name!r}; choose {told} with it"
    line = f"{key}: {where} has no key {name!r}{near(name, [str(each) for each in known])}"
    # Settings of a builder are all there are, names in a mapping may be the user's own.
    mapping = section and OmegaConf.get_type(node) is dict
    return f"{line} (a new one: +{key}=VALUE)" if mapping else line


def _with_key(group: str, name: str) -> list[str]:
    """The options of a group that have a key, as far as they are named as their builders."""
    schemas = ConfigStore.instance().repo.get("schema", {}).get(group, {})
    kinds = {file.removesuffix(".yaml"): schema.node for file, schema in schemas.items()}
    return [each for each in options(group) if each in kinds and name in kinds[each]]


def _called_here(key: str, value: str, cfg: DictConfig) -> str:
    """What a key of another toolbox, or one without its section, is called in a configuration."""
    if said := translated(key, value, lambda each: each.startswith("hydra.") or _has(cfg, each)):
        return said
    name = key.rpartition(".")[2]
    whole = [each for each in _keys(cfg) if each.rpartition(".")[2] == name]
    return f"here it is {' or '.join(f'{each}={value}' for each in whole)}" if whole else ""


def _has(cfg: DictConfig, key: str) -> bool:
    section, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, section) if section else cfg
    return isinstance(node, DictConfig) and name in map(str, node)


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key below a section, with its sections."""
    for key in map(str, cfg):
        node = None if OmegaConf.is_missing(cfg, key) else cfg[key]
        if isinstance(node, DictConfig):
            yield from _keys(node, f"{prefix}{key}.")
        elif prefix:
            yield prefix + key


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _known(overrides: Sequence[str], config_name: str) -> DictConfig:
    """The configuration that the choices of the command line give, without its values."""
    choices = [each for each in overrides if re.fullmatch(r"[\w/]+=\w+", each)]
    try:
        return compose(*choices, config_name=config_name)
    except (HydraException, OmegaConfBaseException):
        return compose(config_name=config_name)
