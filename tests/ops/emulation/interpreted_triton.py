"""The unmodified Triton sources under Triton's interpreter, on CPU tensors."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from torch import Tensor

from detbox.ops import triton as backend
from detbox.ops.kernel import Gradients, Inputs


class InterpretedKernel:
    """Private copies of `detbox.ops.triton` and its kernels: the real ones stay compiled."""

    def __init__(self) -> None:
        with _interpreter():
            kernels = _copy("triton_kernels")
        self._backend = _copy("triton")
        self._backend.__dict__["_kernels"] = lambda: kernels
        # The interpreter's time goes by programs, whatever their size.
        self._backend.__dict__["TILE_BYTES"] *= 16

    def forward(self, inputs: Inputs) -> Tensor:
        """As `detbox.ops.triton.forward`."""
        with _interpreter():
            return self._backend.forward(inputs)

    def backward(self, grad_output: Tensor, inputs: Inputs, references_grad: bool) -> Gradients:
        """As `detbox.ops.triton.backward`."""
        with _interpreter():
            return self._backend.backward(grad_output, inputs, references_grad)


@functools.cache
def kernel() -> InterpretedKernel:
    """The one that a session needs."""
    return InterpretedKernel()


@contextmanager
def _interpreter() -> Iterator[None]:
    # Triton's own functions written in Triton are compiled ones: it was imported as usual.
    # Numpy warns of infinite and undefined numbers, which a GPU takes in its stride.
    from triton import language
    from triton.runtime.interpreter import InterpretedFunction

    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, TRITON_INTERPRET="1"))
        stack.enter_context(np.errstate(all="ignore"))
        classes = [each for each in vars(language.core).values() if isinstance(each, type)]
        for place in (language, language.core, language.math, *classes):
            stack.enter_context(_restored(place))
        for name in ("sum", "max"):
            setattr(language, name, InterpretedFunction(getattr(language, name).fn))
        yield


@contextmanager
def _restored(place: Any) -> Iterator[None]:
    """Take back what the interpreter leaves in Triton's modules and classes, which stops others
    in this process from compiling."""
    before = dict(vars(place))
    try:
        yield
    finally:
        after = dict(vars(place))
        for name in after.keys() - before.keys():
            delattr(place, name)
        for name, found in before.items():
            if after.get(name) is not found:
                setattr(place, name, found)


def _copy(name: str) -> ModuleType:
    path = Path(backend.__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"interpreted_{name}", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
