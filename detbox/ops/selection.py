"""Which backend computes deformable attention, and why."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple, TypeVar

import torch

from detbox.errors import MachineError, SettingError
from detbox.ops.native import MAX_LEVELS

logger = logging.getLogger("detbox")

VARIABLE = "DETBOX_OP"
"""environment variable that outranks the configuration"""

FLOATS = (torch.float32, torch.float16, torch.bfloat16)

Decision = TypeVar("Decision", bound=Callable[..., str])


class Backend(NamedTuple):
    """What is known of a backend without loading it."""

    device: str | None
    """type of the device whose tensors it takes; None: any"""
    types: tuple[torch.dtype, ...]
    deterministic: bool
    """whether two runs give the same gradients to the last digit"""


KNOWN = {
    "cpu": Backend("cpu", (torch.float32, torch.bfloat16, torch.float64), deterministic=True),
    "cuda": Backend("cuda", FLOATS, deterministic=False),
    "triton": Backend("cuda", FLOATS, deterministic=False),
    "mps": Backend("mps", FLOATS, deterministic=False),
    "pytorch": Backend(None, (*FLOATS, torch.float64), deterministic=True),
}
"""Modules of this package by name, in the order in which `auto` asks them."""

BACKENDS = ("auto", *KNOWN)

_configured = "auto"
_said: set[tuple[str, str]] = set()


def configure(backend: str) -> None:
    """Choose the backend of this process, unless `DETBOX_OP` or a call says otherwise.

    Raises:
        ValueError: unknown backend.
        RuntimeError: it cannot run here; says why and what to do.
    """
    global _configured
    check_name(backend, f"op={backend}")
    name, source = _asked(None, os.environ.get(VARIABLE), backend)
    check_name(name, source)
    refuse_missing(name, source)
    _configured = backend


def choose(asked: str | None, device: str, dtype: torch.dtype, levels: int = 1) -> str:
    """The name of the backend for such tensors.

    Args:
        asked: the argument of the call, which outranks `DETBOX_OP` and the configuration.
        device: type of the tensors' device.
        dtype: type that all of them fit in.
        levels: L.

    Raises:
        ValueError: unknown backend.
        RuntimeError: the backend that was asked for cannot run; `auto` falls back instead.
    """
    if torch.onnx.is_in_onnx_export():
        return "pytorch"
    return _decide(asked, os.environ.get(VARIABLE), _configured, device, dtype, levels)


constant: Callable[[Decision], Decision] = torch.compiler.assume_constant_result
"""decorator: torch.compile takes the answer as it is and does not look inside"""


@constant
def _decide(
    asked: str | None,
    variable: str | None,
    configured: str,
    device: str,
    dtype: torch.dtype,
    levels: int,
) -> str:
    return _decide_once(asked, variable, configured, device, dtype, levels)


@functools.cache
def _decide_once(
    asked: str | None,
    variable: str | None,
    configured: str,
    device: str,
    dtype: torch.dtype,
    levels: int,
) -> str:
    name, source = _asked(asked, variable, configured)
    check_name(name, source)
    if name == "auto":
        return _first_that_runs(device, dtype, levels)
    refuse_missing(name, source)
    if reason := unfit(name, device, dtype, levels):
        raise MachineError(f"{source} was asked for, but {reason}; try op=auto")
    _say(device, name, source)
    return name


def _asked(asked: str | None, variable: str | None, configured: str) -> tuple[str, str]:
    """The name that counts, and who gave it."""
    if asked is not None:
        return asked, f"backend={asked!r}"
    if variable is not None:
        return variable, f"{VARIABLE}={variable}"
    return configured, f"op={configured}"


def _first_that_runs(device: str, dtype: torch.dtype, levels: int) -> str:
    reasons: list[str] = []
    for name, backend in KNOWN.items():
        if backend.device not in (device, None):
            continue
        reason = unfit(name, device, dtype, levels) or module_of(name).missing()
        if reason is None:
            _say(device, name, "; ".join(reasons) or "the fastest for this device")
            return name
        reasons.append(f"not {name}: {reason}")
    raise MachineError(f"no backend of the op runs here: {'; '.join(reasons)}")


def check_name(backend: str, source: str) -> None:
    """Refuse a backend that does not exist.

    Raises:
        ValueError: names those that do.
    """
    if backend not in BACKENDS:
        raise SettingError(f"the op must be one of {', '.join(BACKENDS)}, got {source}")


def refuse_missing(backend: str, source: str) -> None:
    """Refuse a backend that cannot run in this process.

    Raises:
        RuntimeError: says why and what to do.
    """
    if backend != "auto" and (reason := module_of(backend).missing()):
        raise MachineError(f"{source} was asked for, but {reason}")


def unfit(backend: str, device: str, dtype: torch.dtype, levels: int = 1) -> str | None:
    """Why a backend cannot take such tensors; None if it can."""
    takes = KNOWN[backend]
    if takes.device not in (device, None):
        return f"{backend} takes tensors on {takes.device}, got {device}"
    if dtype not in takes.types:
        return f"{backend} computes in {_names(takes.types)}, got {_names([dtype])}"
    if levels > MAX_LEVELS and backend != "pytorch":
        return f"{backend} takes up to {MAX_LEVELS} levels, got {levels}"
    return None


def module_of(backend: str) -> ModuleType:
    """The module with `missing`, `forward` and `backward` of a backend."""
    return importlib.import_module(f"detbox.ops.{backend}")


def _names(types: Sequence[torch.dtype]) -> str:
    return ", ".join(str(each).removeprefix("torch.") for each in types)


def _say(device: str, name: str, reason: str) -> None:
    if (device, name) not in _said:
        _said.add((device, name))
        logger.info("deformable attention on %s runs as %s (%s)", device, name, reason)
