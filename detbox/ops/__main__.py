"""`python -m detbox.ops`: every backend, whether it runs here, and a test of those that do."""

from __future__ import annotations

import sys

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from detbox.ops import compiled, ms_deform_attn_fused
from detbox.ops.examples import example
from detbox.ops.selection import KNOWN, VARIABLE, choose, module_of

SHAPES = ((9, 13), (5, 7), (3, 4), (1, 1))
TOLERANCE = 1e-4
"""of outputs and gradients of unit size against the definition in float64"""


def main() -> int:
    """Print the table; 1 if a backend gives wrong numbers, else 0."""
    table = Table(
        "op", "device", "here", "self-test", title="Deformable attention", title_justify="left"
    )
    failed = False
    for name, backend in KNOWN.items():
        reason = module_of(name).missing()
        verdict = "" if reason else _self_test(name, backend.device or "cpu")
        failed |= verdict.startswith("wrong")
        table.add_row(name, backend.device or "any", Text(reason or _built_by(name)), verdict)
    console = Console()
    console.print(table)
    for device in ("cpu", "cuda", "mps"):
        if device == "cpu" or getattr(torch, device).is_available():
            console.print(f"on {device}: op={choose(None, device, torch.float32)}", highlight=False)
    console.print(f"choose with op=NAME in a command, or {VARIABLE}=NAME before it")
    return int(failed)


def _built_by(name: str) -> str:
    notes = compiled.build_notes(name)
    parts = notes.get("codes") or notes.get("variants") or []
    return f"yes ({notes['compiler']}; {', '.join(parts)})" if parts else "yes"


def _self_test(name: str, device: str) -> str:
    worst = 0.0
    for reference_size in (2, 4):
        wanted = _results("pytorch", "cpu", reference_size, torch.float64)
        found = _results(name, device, reference_size, torch.float32)
        for want, got in zip(wanted, found, strict=True):
            error = (got.cpu().double() - want).abs().max() / want.abs().max()
            worst = max(worst, float(error))
    verdict = "right" if worst < TOLERANCE else "wrong"
    return f"{verdict} to {worst:.0e}"


def _results(name: str, device: str, reference_size: int, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients of the same inputs on any device."""
    inputs = example(SHAPES, 50, batch=2, reference_size=reference_size)
    value, references, offsets, logits = (
        each.to(device, dtype).requires_grad_()
        for each in (inputs.value, inputs.references, inputs.offsets, inputs.logits)
        if each is not None
    )
    output = ms_deform_attn_fused(value, inputs.shapes, references, offsets, logits, backend=name)
    tensors = (value, references, offsets, logits)
    return [output.detach(), *torch.autograd.grad(output.square().sum(), tensors)]


if __name__ == "__main__":
    sys.exit(main())
